"""The batches of an epoch as they come: where something else than the sampler decides how many rows they have."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from itertools import chain, islice, zip_longest
from typing import Any, NamedTuple

from torch import Generator, Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate, default_convert

from bnguard import _private_torch as private
from bnguard._audit_loader.follow import (
    ENOUGH_DRAWS,
    MOST_COPIES,
    CannotCopyError,
    datasets_in,
    deep_copy,
    fetches_lists,
    of_graphs,
    shared_datasets,
)
from bnguard._audit_loader.live import live_loaders
from bnguard._audit_loader.one_loader import law_of
from bnguard._untouched import quiet, random_states, random_states_kept, seed_random_numbers
from bnguard._usercode import one_line

MOST_SECONDS = 30.0
"""A loader is read no longer than this."""

MOST_KINDS = 64
"""Batches of more different shapes than this are not told apart."""

_FEW = 8
"""Samples whose shapes are compared where each is a batch, or a batch sampler of the user's may sort them."""

_LIBRARIES = ("torch.", "accelerate.", "lightning.", "torch_geometric.")
"""Whose loader classes give the batches that they fetch."""


class Kind(NamedTuple):
    """What batches have in common for a model: the shapes of all that is in them."""

    shapes: Hashable
    rows: int


class Epoch(NamedTuple):
    """One epoch as it was read.

    Attributes:
        kinds: of its batches, in their order.
        ended: whether it was read to its end.
        error: what the loader itself raised, after these batches.

    """

    kinds: tuple[Kind, ...]
    ended: bool
    error: str | None


class Reading(NamedTuple):
    """What was read of a loader.

    Attributes:
        why: the plan does not say what comes.
        epochs: the first epoch, once, or several times with other random numbers where such were drawn.
        batches: one of each kind.
        drawn: whether random numbers were drawn.
        refused: why nothing was read.
        empty: what the collate function raises where no sample is left, if that may happen.

    """

    why: str
    epochs: tuple[Epoch, ...] = ()
    batches: Mapping[Kind, Any] = {}
    drawn: bool = False
    refused: str | None = None
    empty: str | None = None

    @property
    def unfinished(self) -> str | None:
        """Why what was read is not the whole epoch; None where it is."""
        if self.refused is not None or not self.epochs:
            return self.refused or "it could not be read"
        if self.epochs[0].ended:
            return None
        if len(self.batches) > MOST_KINDS:
            return f"its batches have more than {MOST_KINDS:,} different shapes"
        return f"it was not read to its end within {MOST_SECONDS:.0f} seconds"


def is_own_loader(value: object) -> bool:
    """Whether this is a loader without a DataLoader in it: an object of the user's that can be iterated anew."""
    kind = type(value)
    if isinstance(value, (DataLoader, Tensor, Mapping, Sequence, Set, Iterator, type)):
        return False
    builtin = kind.__module__ == "builtins" or isinstance(value, IterableDataset)
    return hasattr(kind, "__iter__") and not builtin and not live_loaders(value)


def why_read(holder: object, *, streams: bool) -> str | None:
    """Return why the sampler alone does not say how many rows the batches of a loader have; None where it does.

    Args:
        holder: the loader, or what wraps it.
        streams: whether an IterableDataset may be read that does not say how long it is.

    """
    if not isinstance(holder, DataLoader):
        return f"{type(holder).__name__} gives batches in its own way"
    stream = isinstance(holder.dataset, IterableDataset)
    if stream and not streams and not _says_its_length(holder.dataset):
        return None
    iterating = next(kind for kind in type(holder).__mro__ if "__iter__" in vars(kind))
    if not iterating.__module__.startswith(_LIBRARIES):
        return f"{iterating.__name__} iterates in its own way"
    if stream:
        return "a stream gives as many samples as it has"
    return _why_fetched(holder)


def _why_fetched(holder: DataLoader[Any]) -> str | None:
    if holder.batch_sampler is None:
        return "batch_size=None: the dataset decides how many rows a batch has"
    if holder.collate_fn not in (default_collate, default_convert) and not of_graphs(holder.collate_fn):
        name = getattr(holder.collate_fn, "__name__", type(holder.collate_fn).__name__)
        return f"the collate function {name} decides how many rows a batch has"
    if fetches_lists(holder.dataset):
        return "the dataset's __getitems__ decides how many rows a batch has"
    return _why_shapes_differ(holder)


def _says_its_length(dataset: Any) -> bool:  # noqa: ANN401 - any dataset
    try:
        return len(dataset) >= 0
    except Exception:  # noqa: BLE001 - a missing __len__ raises TypeError, other people's raise anything
        return False


def _why_shapes_differ(loader: DataLoader[Any]) -> str | None:
    """Look at the first few samples where torch's own collate function would not refuse samples of other shapes."""
    law = law_of(loader.batch_sampler)
    if law is not None and law["batch_size"] > 1:
        return None
    if all(isinstance(data, TensorDataset) for data in datasets_in(loader.dataset)):
        return None
    reader = _Reader("", time.monotonic() + MOST_SECONDS)
    try:
        with quiet(), random_states_kept():
            epoch = reader.read(loader, most=_FEW)
    except CannotCopyError:
        return None
    differ = len({_without_rows(kind) for kind in epoch.kinds}) > 1
    return "its samples differ in their shapes" if differ else None


def _without_rows(kind: Kind) -> Hashable:
    def rest(shapes: Any) -> Any:  # noqa: ANN401 - nested
        if isinstance(shapes, _Shape):
            return shapes.size[1:]
        return tuple(map(rest, shapes)) if isinstance(shapes, tuple) else shapes

    return rest(kind.shapes)  # type: ignore[no-any-return]


def read(holder: object, why: str) -> Reading:
    """Read the first epoch of copies of a loader, in this process; random states stay as they are.

    Samplers, collate functions and streams are copied; a map-style dataset is asked for its items, as a worker would.
    """
    reader = _Reader(why, time.monotonic() + MOST_SECONDS)
    epochs: list[Epoch] = []
    drawn = False
    try:
        with quiet(), random_states_kept():
            while reader.wants_more(epochs, drawn=drawn):
                seed_random_numbers(len(epochs))
                before = random_states()
                epochs.append(reader.read(holder))
                drawn = drawn or random_states() != before
    except CannotCopyError as error:
        return Reading(why, refused=f"it cannot be copied ({error}), and reading it would use it up")
    if reader.too_many:
        epochs = epochs[-1:]
    whole = tuple(e for e in epochs if e.ended) or tuple(epochs)
    empty = _of_nothing(holder) if len({tuple(kind.rows for kind in e.kinds) for e in whole}) > 1 else None
    return Reading(why, whole, reader.batches, drawn, empty=empty)


def _of_nothing(holder: object) -> str | None:
    """Return what is raised where no sample of a batch is left, found by batches of one; None where each has one."""
    loader = holder if isinstance(holder, DataLoader) else next(iter(_inner(holder)), None)
    if loader is None:
        return None
    try:
        with quiet(), random_states_kept():
            for _ in _one_by_one(_copied(loader)):
                pass
    except Exception as error:  # noqa: BLE001 - the user's own
        return one_line(error)
    return None


def _one_by_one(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield a batch of each of the first samples."""
    data: Any = loader.dataset
    if isinstance(data, IterableDataset):
        if loader.batch_size is not None:
            yield from (loader.collate_fn([sample]) for sample in islice(data, ENOUGH_DRAWS))
    elif loader.batch_sampler is not None:
        alone = [[index] for index in range(min(len(data), ENOUGH_DRAWS))]
        yield from DataLoader.__iter__(private.loader_with(loader, batch_sampler=alone))


class _Reader:
    def __init__(self, why: str, deadline: float) -> None:
        self.why = why
        self.deadline = deadline
        self.batches: dict[Kind, Any] = {}
        self.too_many = False

    def wants_more(self, epochs: list[Epoch], *, drawn: bool) -> bool:
        """Whether the epoch is to be read once more.

        Twice at least, since not every source of chance is seen; where numbers were drawn, until what happens to one
        sample in fifty would have been seen.
        """
        if not epochs:
            return True
        rows = sum(kind.rows for epoch in epochs for kind in epoch.kinds)
        last = not epochs[-1].ended or self.too_many or time.monotonic() > self.deadline
        return not last and (len(epochs) < 2 or (drawn and len(epochs) < MOST_COPIES and rows < ENOUGH_DRAWS))

    def read(self, holder: object, most: int | None = None) -> Epoch:
        """Read the first epoch of a copy."""
        kinds: list[Kind] = []
        batches = _batches(holder)
        try:
            for batch in batches:
                kinds.append(self._kind(batch))
                if len(kinds) == most or self.too_many or time.monotonic() > self.deadline:
                    return Epoch(tuple(kinds), ended=False, error=None)
        except CannotCopyError:
            raise
        except Exception as error:  # noqa: BLE001 - the user's dataset and collate function may raise anything
            return Epoch(tuple(kinds), ended=True, error=one_line(error))
        return Epoch(tuple(kinds), ended=True, error=None)

    def _kind(self, batch: Any) -> Kind:  # noqa: ANN401 - whatever the loader gives
        kind = kind_of(batch)
        if kind not in self.batches:
            self.too_many = len(self.batches) >= MOST_KINDS
            self.batches[kind] = batch
        return kind


# ------------------------------------------------------------------------------------------- the batches of a copy


def _batches(holder: object) -> Iterator[Any]:
    """Yield the batches of the first epoch of a copy; several workers of a stream are played one after the other."""
    if not isinstance(holder, DataLoader):
        inner = _inner(holder)
        shared: dict[int, object] = {id(loader): _copied(loader) for loader in inner}
        for loader in inner:
            shared.update(shared_datasets(loader))
        yield from deep_copy(holder, shared)
    elif isinstance(holder.dataset, IterableDataset) and holder.num_workers:
        workers = [_of_worker(holder, number) for number in range(holder.num_workers)]
        rounds = chain.from_iterable(zip_longest(*workers, fillvalue=_ENDED))
        yield from (batch for batch in rounds if batch is not _ENDED)
    elif type(holder).__module__.startswith("accelerate."):  # iterating its loaders changes a state of the process
        yield from DataLoader.__iter__(_copied(holder))
    else:
        yield from _copied(holder)


_ENDED = object()


def _inner(holder: object) -> list[DataLoader[Any]]:
    return [value for value in getattr(holder, "__dict__", {}).values() if isinstance(value, DataLoader)]


def _copied(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return a copy that fetches in this process; what holds the samples of a map-style dataset is shared."""
    shallow = private.loader_with(
        loader,
        num_workers=0,
        timeout=0,
        pin_memory=False,
        persistent_workers=False,
        # else a number for its workers would be drawn of those whose drawing is watched
        generator=loader.generator or Generator().manual_seed(0),
    )
    copied: DataLoader[Any] = deep_copy(shallow, shared_datasets(loader))
    return copied


def _of_worker(loader: DataLoader[Any], number: int) -> Iterator[Any]:
    """Yield the batches of one worker; each ``next`` happens in its place."""
    own = _copied(loader)
    with private.as_worker(number, loader.num_workers, own.dataset):
        if loader.worker_init_fn is not None:
            loader.worker_init_fn(number)
        batches = iter(own)
    while True:
        with private.as_worker(number, loader.num_workers, own.dataset):
            batch = next(batches, _ENDED)
        if batch is _ENDED:
            return
        yield batch


# ------------------------------------------------------------------------------------------------ what a batch holds


class _Shape(NamedTuple):
    size: tuple[int, ...]
    dtype: str


def kind_of(batch: object) -> Kind:
    """Return the shapes of all that is in a batch, and its rows: the first dimension of its first tensor."""
    shapes = _shapes(batch, 6)
    first = next(_sizes(shapes), None)
    return Kind(shapes, 0 if first is None else first)


def _shapes(value: Any, deep: int) -> Hashable:  # noqa: ANN401 - any nesting
    if isinstance(value, Tensor):
        return _Shape(tuple(value.shape), str(value.dtype))
    if not deep or isinstance(value, (str, bytes, int, float, complex, type(None), type)):
        return type(value).__name__
    if isinstance(value, Mapping):
        return ("mapping", *((str(key), _shapes(item, deep - 1)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, len(value), *(_shapes(item, deep - 1) for item in value))
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _Shape(tuple(value.shape), str(value.dtype))
    attributes = getattr(value, "__dict__", {})
    return (type(value).__name__, *((str(key), _shapes(item, deep - 1)) for key, item in attributes.items()))


def _sizes(shapes: Any) -> Iterator[int]:  # noqa: ANN401 - nested
    """Yield the first dimension of every tensor, or the length of a list of images within the batch."""
    if isinstance(shapes, _Shape):
        if shapes.size:
            yield shapes.size[0]
    elif isinstance(shapes, tuple):
        for item in shapes:
            yield from (len(item) - 2,) if _is_list_of_images(item) else _sizes(item)


def _is_list_of_images(shapes: Any) -> bool:  # noqa: ANN401 - nested
    """Whether this is a list of samples as detectors take them: tensors of three dimensions, or mappings."""
    if isinstance(shapes, _Shape) or not isinstance(shapes, tuple) or shapes[0] not in ("list", "tuple"):
        return False
    items = shapes[2:]
    images = (isinstance(x, _Shape) and len(x.size) == 3 for x in items)
    return bool(items) and (all(images) or all(isinstance(x, tuple) and x[0] == "mapping" for x in items))
