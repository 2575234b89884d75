"""What a batch holds, how batches count, and the recorded arguments of a forward, made anew for other batch sizes."""

from __future__ import annotations

import builtins
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from bnguard._audit_loader.follow import first_sample
from bnguard._facts.models import InputFact
from bnguard._models.inputs import Arguments, describe, map_tensors, resize_batch
from bnguard._usercode import whose

MOST_TENSORS = 64
"""Tensors of a batch that are looked at; lists of images in a detector's batch are the longest."""

MOST_PIECES = 8
"""A first dimension of up to this many times the batch is taken for batches that were joined."""


def tensors_in(value: object, deep: int = 5, objects: int = 2) -> Iterator[Tensor]:
    """Yield every tensor within lists, tuples, mappings and the attributes of other objects, such as a graph's stores.

    Args:
        value: anything.
        deep: how many levels are searched.
        objects: of them objects with attributes.

    """
    if isinstance(value, Tensor):
        yield value
        return
    inside: Iterable[object] = ()
    if isinstance(value, Mapping):
        inside = value.values()
    elif isinstance(value, (list, tuple)):
        inside = value
    elif objects and not isinstance(value, (type, torch.nn.Module)):
        attributes = getattr(value, "__dict__", None)
        inside, objects = (list(attributes.values()) if isinstance(attributes, dict) else ()), objects - 1
    if deep:
        for item in islice(inside, MOST_TENSORS):
            yield from tensors_in(item, deep - 1, objects)


class Kind:
    """The sizes of a batch's tensors: what two batches of one kind have in common.

    Attributes:
        leading: of each tensor the first dimension, and the length of each list of samples.
        others: all further dimensions.

    """

    def __init__(self, batch: object) -> None:
        tensors = list(tensors_in(batch))[:MOST_TENSORS]
        lists = [len(v) for v in _lists_in(batch)]
        self.leading = (*(int(t.shape[0]) for t in tensors if t.dim()), *lists)
        self.others = tuple(n for t in tensors for n in sizes_of(t)[1:])

    @property
    def visible(self) -> bool:
        """Whether anything was found that has a size."""
        return bool(self.leading)


def sizes_of(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of a tensor; the ragged dimension of a nested one has no size, and is 0 here."""
    return tuple(n if type(n) is int else 0 for n in tensor.shape)


def _lists_in(batch: object) -> Iterator[Sequence[object]]:
    if isinstance(batch, (list, tuple)):
        yield from (v for v in batch if isinstance(v, (list, tuple)))
        if batch and all(isinstance(v, (str, Mapping)) for v in batch):
            yield batch
    elif isinstance(batch, Mapping):
        yield from (v for v in batch.values() if isinstance(v, (list, tuple)))


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


def are_twins(one: DataLoader[Any], other: DataLoader[Any]) -> bool:
    """Whether two loaders go through the same batches, such as what Accelerate prepares and the loader it was given."""
    if one.dataset is not other.dataset:
        return False
    return isinstance(one.dataset, IterableDataset) or bool(_cutting(one) & _cutting(other))


def _cutting(loader: DataLoader[Any]) -> set[int]:
    """Return who cuts the batches of a loader, and whose samples they are, by identity."""
    batches = loader.batch_sampler
    parts = (batches, *(getattr(batches, name, None) for name in ("batch_sampler", "sampler")))
    return {id(part) for part in parts if part is not None}


def counted(loader: DataLoader[Any], seconds: float) -> list[int] | None:
    """Return the sizes of a stream's batches by a pass over its data, with its own workers and without a model.

    Returns:
        None where they cannot be had: not in this time, a dataset that is used up, an error of the user's code.

    """
    if loader.num_workers == 0 and iter(loader.dataset) is iter(loader.dataset):
        return None
    again: DataLoader[Any] = DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        drop_last=loader.drop_last,
        num_workers=loader.num_workers,
        collate_fn=partial(_rows, loader.collate_fn, loader.batch_size),
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )
    sizes: list[int] = []
    deadline = time.monotonic() + seconds
    try:
        for size in again:
            sizes.append(int(size))
            if time.monotonic() > deadline:
                return None
    except Exception:  # noqa: BLE001 - the user's dataset: what it cannot tell is reported as not known
        return None
    return sizes


def _rows(collate: Callable[[Any], Any], expected: int | None, items: Any) -> int | None:  # noqa: ANN401
    return batch_size_of(collate(items), expected)


@dataclass(frozen=True)
class RecordedInputs:
    """Inputs as a training step really gave them.

    Attributes:
        arguments: positional and keyword arguments, tensors detached.
        batch_size: samples in the batch that they were made from.
        source: see ``InputFact``.
        needs_values: shapes are tried first.

    """

    arguments: Arguments
    batch_size: int
    source: str = "recorded"
    needs_values: bool = False

    def make(self, batch_size: int, device: str) -> Arguments:
        """Return the arguments with the batch dimension of every tensor at this size.

        On the meta device they are shapes alone; on the CPU the recorded values, repeated or cut.
        """
        args, kwargs = self.arguments
        sized = {k: self._resized(v, batch_size, device) for k, v in kwargs.items()}
        return tuple(self._resized(v, batch_size, device) for v in args), sized

    def facts(self, batch_size: int) -> tuple[InputFact, ...]:
        """Describe the tensors that ``make`` gives."""
        return describe(self.make(batch_size, "meta"), self.source)

    def enlarged(self, factor: int) -> RecordedInputs | None:
        """Return the same inputs with every image enlarged, or None where there is no image."""
        if not any(t.dim() > 3 for t in _tensors(self.arguments)):
            return None

        def grown(t: Tensor) -> Tensor:
            return t.new_empty((*t.shape[:2], *(n * factor for n in t.shape[2:])), device="meta") if t.dim() > 3 else t

        return RecordedInputs(map_tensors(self.arguments, grown), self.batch_size, self.source)

    @property
    def follows_batch(self) -> bool:
        """Whether anything in the arguments grows with the batch; where nothing does, another size says nothing."""
        now, more = (_tensors(self.make(self.batch_size + n, "meta")) for n in (0, 1))
        return [t.shape for t in now] != [t.shape for t in more]

    def signature(self) -> str:
        """Return what tells one call from another: shapes, dtypes, and the other values."""
        shapes = [f"{tuple(t.shape)} {t.dtype}" for t in _tensors(self.arguments)]
        return f"{self.batch_size} {shapes} {map_tensors(self.arguments, lambda t: t.new_empty(0, device='meta'))}"

    def _resized(self, value: Any, batch_size: int, device: str) -> Any:  # noqa: ANN401 - any nesting
        """Change every tensor; a list that holds one item a sample gets as many items as there are samples."""
        if type(value) in (list, tuple) and self._is_per_sample(value):
            place = (lambda t: t.to("meta")) if device == "meta" else (lambda t: t.cpu())
            return type(value)(map_tensors(value[i % len(value)], place) for i in range(batch_size))
        if type(value) in (list, tuple):
            return type(value)(self._resized(v, batch_size, device) for v in value)
        if type(value) is dict:
            return {k: self._resized(v, batch_size, device) for k, v in value.items()}
        return map_tensors(value, lambda t: self._tensor(t, batch_size, device))

    def _is_per_sample(self, items: Sequence[Any]) -> bool:
        """Whether this list holds one item for each sample, such as the images that a detector takes."""
        if len(items) != self.batch_size or not _tensors(items):
            return False
        first = [t.shape[0] for t in _tensors(items) if t.dim()]
        return is_ragged(items) or (self.batch_size > 1 and self.batch_size not in first)

    def _tensor(self, t: Tensor, batch_size: int, device: str) -> Tensor:
        dim, pieces = self._batch_dimension(t)
        if device == "meta":
            size = list(t.shape)
            if dim is not None:
                size[dim] = pieces * batch_size
            return torch.empty(size, dtype=t.dtype, device="meta")
        t = t.cpu()
        if dim is None:
            return t
        resized: Tensor = resize_batch(t.transpose(0, dim), pieces * batch_size).transpose(0, dim)
        return resized

    def _batch_dimension(self, t: Tensor) -> tuple[int | None, int]:
        """Return which dimension counts samples, and how many batches lie joined in it."""
        n = self.batch_size
        if t.dim() and t.shape[0] == n:
            return 0, 1
        if t.dim() > 2 and t.shape[1] == n > 1:  # a sequence, whose steps come first
            return 1, 1
        if t.dim() > 1 and n > 1 and t.shape[0] % n == 0 and 0 < t.shape[0] // n <= MOST_PIECES:
            return 0, int(t.shape[0]) // n
        return None, 1


@dataclass(frozen=True)
class CollatedInputs:
    """Inputs of a forward that takes the loader's batch as it is, an object that holds tensors, such as PyG's.

    Attributes:
        arguments: positional and keyword arguments.
        batch_type: the arguments of this type are the batch.
        loader: whose collate function makes such a batch from one of its samples, as often as wanted.
        source: see ``InputFact``.
        needs_values: what the object does with its tensors is its own affair, so it holds real ones.

    """

    arguments: Arguments
    batch_type: type
    loader: DataLoader[Any]
    source: str = "recorded"
    needs_values: bool = True

    def make(self, batch_size: int, device: str) -> Arguments:  # noqa: ARG002 - they are on the CPU, see needs_values
        """Return the arguments with a batch of this size; the forward fails where no sample can be had."""
        batch = first_sample(self.loader).batch(batch_size)
        args, kwargs = self.arguments
        changed = {k: batch if type(v) is self.batch_type else v for k, v in kwargs.items()}
        return tuple(batch if type(v) is self.batch_type else v for v in args), changed

    def facts(self, batch_size: int) -> tuple[InputFact, ...]:  # noqa: ARG002 - see the protocol
        """Return nothing: which tensors the object holds is its own affair."""
        return ()

    def signature(self) -> str:
        """Return what tells one call from another."""
        args, kwargs = self.arguments
        return f"{self.batch_type} {list(map(type, args))} {list(kwargs)}"


def _tensors(value: Any) -> list[Tensor]:  # noqa: ANN401 - any nesting
    found: list[Tensor] = []
    map_tensors(value, lambda t: found.append(t) or t)  # type: ignore[func-returns-value]
    return found


_enumerate = builtins.enumerate


class _Kind(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _enumerate) or super().__instancecheck__(value)


class Enumerate(metaclass=_Kind):
    """``enumerate`` for the user's code: its count goes on by the batches that are left out as well."""

    left_out = 0
    """Batches that were left out so far, of all loaders."""

    def __new__(cls, iterable: Iterable[Any], start: int = 0) -> Any:  # noqa: ANN401 - or Python's own
        if whose(sys._getframe(1).f_code.co_filename) != "user":
            return _enumerate(iterable, start)
        return super().__new__(cls)

    def __init__(self, iterable: Iterable[Any], start: int = 0) -> None:
        self._iterator = iter(iterable)
        self._index = start

    def __iter__(self) -> Enumerate:
        return self

    def __next__(self) -> tuple[int, Any]:
        before = Enumerate.left_out
        item = next(self._iterator)
        index = self._index + Enumerate.left_out - before
        self._index = index + 1
        return index, item


Recipe = RecordedInputs | CollatedInputs


def recipe_of(arguments: Arguments, size: int | None, batch_type: type, loader: DataLoader[Any]) -> Recipe | None:
    """Return how arguments of any batch size are made of these; None where they do not follow it.

    Args:
        arguments: of one call of a model, positional and by keyword.
        size: samples in the batch that they were made from, None if not known.
        batch_type: of what the loader gives.
        loader: that gave it.

    """
    args, kwargs = arguments
    if size is not None:
        recorded = RecordedInputs((map_tensors(args, Tensor.detach), map_tensors(kwargs, Tensor.detach)), size)
        if recorded.follows_batch:
            return recorded
    whole = any(type(v) is batch_type and not isinstance(v, Tensor) for v in (*args, *kwargs.values()))
    return CollatedInputs(arguments, batch_type, loader) if whole else None
