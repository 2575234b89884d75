"""What a loader gave: how many samples it holds, and whether a model was called with it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import ReferenceType, ref

from torch import Tensor
from torch.utils.data import DataLoader

from bnguard._facts.models import SourceLine

MOST_TENSORS = 64
"""Tensors of a batch that are remembered; lists of images in a detector's batch are the longest."""


@dataclass(eq=False)
class SeenLoader:
    """A DataLoader that the script made, and what came out of it.

    Attributes:
        loader: kept alive, since its batches are counted after the script has ended.
        source: the user's line that made it, None if not known.
        made: how many loaders were made before it.
        given: how many batches it has given.
        step: how many of them in the epoch at hand.
        size: samples in the latest batch, None before the first or where that is not known.
        order: when the latest batch came, counted over all loaders.
        batch_type: of the latest batch.
        trained: whether one of its batches has gone through a model in training.
        thread: that the latest batch was given to.
        tensors: of the latest batches.

    """

    loader: DataLoader[Any]
    source: SourceLine | None
    made: int = 0
    given: int = 0
    step: int = 0
    size: int | None = None
    order: int = 0
    trained: bool = False
    thread: int = 0
    batch_type: type = object
    tensors: list[tuple[int, ReferenceType[Tensor], int | None]] = field(default_factory=list)

    def remember(self, batch: object, order: int) -> None:
        """Note a batch that the loader is about to give; its tensors are not kept alive."""
        self.given += 1
        self.step += 1
        self.thread = threading.get_ident()
        self.order = order
        self.batch_type = type(batch)
        self.size = batch_size_of(batch, self.loader.batch_size)
        new = [(key, ref(t), self.size) for t in list(tensors_in(batch))[:MOST_TENSORS] if (key := storage_of(t))]
        self.tensors = [*new, *self.tensors][: 4 * MOST_TENSORS]

    def holds(self, keys: set[int]) -> bool:
        """Whether one of the latest batches lies in one of these storages; ``size`` is then that batch's."""
        for key, alive, size in self.tensors:
            if key in keys and alive() is not None:
                self.size = size
                return True
        return False


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield every tensor within lists, tuples and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def storage_of(tensor: Tensor) -> int:
    """Return where the tensor's memory begins, 0 where it has none."""
    try:
        return int(tensor.untyped_storage().data_ptr())
    except (RuntimeError, NotImplementedError):  # sparse, meta and other tensors without a storage
        return 0


def batch_size_of(batch: object, expected: int | None) -> int | None:
    """Return how many samples a batch holds: the first dimension of its tensors, or the length of its lists.

    Args:
        batch: as the loader gives it.
        expected: the loader's batch size: where something in the batch has this length, that is meant.

    """
    lengths = list(_lengths(batch, top=True))
    if expected is not None and expected in lengths:
        return expected
    return lengths[0] if lengths else None


def _lengths(value: object, *, top: bool) -> Iterator[int]:
    if isinstance(value, Tensor):
        if value.dim():
            yield int(value.shape[0])
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _lengths(item, top=False)
    elif isinstance(value, (list, tuple)):
        if not top and value and is_ragged(value):
            yield len(value)
            return
        for item in value:
            yield from _lengths(item, top=False)


def is_ragged(items: Iterable[object]) -> bool:
    """Whether this is a list of samples, as detectors take them, and not a list of tensors with a batch dimension."""
    return all(isinstance(item, Mapping) or (isinstance(item, Tensor) and item.dim() in (0, 3)) for item in items)


def feeding(given: Iterable[Tensor], loaders: Iterable[SeenLoader]) -> SeenLoader | None:
    """Return the loader whose batch these arguments are, or are made from; None where no loader has given one.

    The same memory is proof. Without it (the batch was moved, joined or augmented) the latest batch with as many
    samples is taken, and else the latest.
    """
    tensors = list(given)
    candidates = sorted((s for s in loaders if s.given), key=lambda s: -s.order)
    keys = {key for t in tensors if (key := storage_of(t))}
    same = next((s for s in candidates if s.holds(keys)), None)
    if same is not None:
        return same
    leading = {int(t.shape[0]) for t in tensors if t.dim()}
    return next((s for s in candidates if s.size in leading), candidates[0] if candidates else None)
