"""What a live loader yields, found without leaving a trace: sizes of batches, one sample, what else changes sizes."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate, default_convert

from bnguard._audit_loader.plan import runs
from bnguard._errors import BnguardError, UserCodeError
from bnguard._models.inputs import map_tensors, resize_batch
from bnguard._untouched import random_states_kept, seed_random_numbers
from bnguard._usercode import one_line, user_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bnguard._facts.loaders import Runs


MOST_BATCHES = 1_000_000
"""A batch_sampler is followed this far; an endless one has no epoch to speak of."""

MOST_SECONDS = 30.0
"""… and no longer than this."""

MOST_COPIES, ENOUGH_DRAWS = 16, 256
"""Of an epoch that may be drawn at random so many are looked at, or fewer that hold so many draws."""

MOST_DATASETS = 64
"""Of a ConcatDataset so many parts are looked at."""

_PASSES = 3
"""Epochs that are looked at where one is short, since a sampler that shuffles may vary its sizes."""


class Seen(NamedTuple):
    """What one pass over a sampler gave: sizes in order, and whether it came to its end."""

    sizes: Runs
    ended: bool


class CannotCopyError(Exception):
    """The sampler cannot be copied, and following the original would move its state."""


def _private_copy(sampler: object, dataset: object) -> Any:  # noqa: ANN401 - the type of what is copied
    """Return a deep copy that shares the datasets and nothing else.

    Raises:
        CannotCopyError: if a part of it refuses, such as a generator or an open file.

    """
    shared: dict[int, object] = {id(dataset): dataset}
    _share_datasets(sampler, shared, depth=4)
    return deep_copy(sampler, dict(shared))


def deep_copy(value: Any, shared: dict[int, object]) -> Any:  # noqa: ANN401 - the type of what is copied
    """Return a copy in which these objects, by their ``id``, are the same ones.

    Raises:
        CannotCopyError: if a part of it refuses.

    """
    try:
        return copy.deepcopy(value, shared)
    except Exception as error:
        raise CannotCopyError(one_line(error)) from error


def shared_datasets(loader: DataLoader[Any]) -> dict[int, object]:
    """Return, for ``deep_copy``, the map-style datasets of a loader: what they hold may be as large as the memory."""
    shared: dict[int, object] = {}
    for sampler in (loader.sampler, loader.batch_sampler):
        _share_datasets(sampler, shared, depth=4)
    shared[id(loader.dataset)] = loader.dataset
    return {key: data for key, data in shared.items() if not isinstance(data, IterableDataset)}


def _share_datasets(owner: object, shared: dict[int, object], depth: int) -> None:
    for value in vars(owner).values() if depth and hasattr(owner, "__dict__") else ():
        if isinstance(value, Dataset):
            shared[id(value)] = value
        elif "sampler" in type(value).__name__.lower():
            _share_datasets(value, shared, depth - 1)


def follow(
    sampler: object,
    dataset: object,
    measure: Callable[[Any], int],
    progress: Callable[[int], None] | None,
    passes: int = _PASSES,
) -> list[Seen]:
    """Return the sizes of up to ``passes`` epochs of a copy of the sampler.

    ``measure`` turns one item into its size; the copy shares the dataset.

    Raises:
        CannotCopyError: if no copy can be made.
        UserCodeError: if the sampler raises.

    """
    with random_states_kept():
        copied = sampler if isinstance(sampler, (list, tuple, range)) else _private_copy(sampler, dataset)
        seen: list[Seen] = []
        for epoch in range(1 if isinstance(copied, (list, tuple, range)) else passes):
            if epoch and hasattr(copied, "set_epoch"):
                copied.set_epoch(epoch)
            seen.append(_one_pass(copied, measure, progress))
            items = sum(count for _, count in seen[-1].sizes)
            if not items or items * passes > MOST_BATCHES // 10 or not seen[-1].ended:
                break
        return seen if seen[-1].sizes or len(seen) == 1 else seen[:-1]


def follow_again(sampler: object, dataset: object, measure: Callable[[Any], int], first: Seen) -> list[Runs]:
    """Return the sizes of the first epoch of further copies, each of which draws other random numbers.

    Where they are those of ``first`` nothing in this epoch is drawn at random. The shorter an epoch is, the more
    copies are asked: what is rarely drawn must not be missed.
    """
    items = sum(count for _, count in first.sizes)
    if isinstance(sampler, (list, tuple, range)) or not items or items > MOST_BATCHES // 10 or not first.ended:
        return []
    found: list[Runs] = []
    with random_states_kept():
        for seed in range(max(1, min(MOST_COPIES, ENOUGH_DRAWS // items))):
            seed_random_numbers(seed)
            found.append(_one_pass(_private_copy(sampler, dataset), measure, None).sizes)
    return found


def _one_pass(copied: Iterable[Any], measure: Callable[[Any], int], progress: Callable[[int], None] | None) -> Seen:
    sizes: list[tuple[int, int]] = []
    deadline = time.monotonic() + MOST_SECONDS
    done = 0
    try:
        for item in copied:
            size = measure(item)
            if sizes and sizes[-1][0] == size:
                sizes[-1] = (size, sizes[-1][1] + 1)
            else:
                sizes.append((size, 1))
            done += 1
            if done % 1024 == 0 and progress:
                progress(done)
            if done >= MOST_BATCHES or (done % 1024 == 0 and time.monotonic() > deadline):
                return Seen(runs(*sizes), ended=False)
    except BnguardError:
        raise
    except Exception as error:
        raise user_error("the sampler", error) from error
    return Seen(runs(*sizes), ended=True)


def user_error(what: str, error: Exception) -> UserCodeError:
    """Return the error for the user's own code."""
    hint = "it is the loader's own code"
    return UserCodeError(f"{what} raised {one_line(error)}", detail=user_traceback(error), hint=hint)


def count_items(dataset: object, progress: Callable[[int], None] | None) -> tuple[int, bool]:
    """Read a copy of an IterableDataset once; return how many samples came and whether it ended.

    Raises:
        CannotCopyError: if it can be read only once and no copy can be made.
        UserCodeError: if it raises.

    """
    with random_states_kept():
        seen = _one_pass(deep_copy(dataset, {}), lambda _item: 1, progress)
    return sum(count for _, count in seen.sizes), seen.ended


def read_batches(dataset: object, progress: Callable[[int], None] | None) -> Seen:
    """Read a copy of an IterableDataset that yields whole batches once; a size of 0 is one that nothing shows.

    Raises:
        CannotCopyError: if it can be read only once and no copy can be made.
        UserCodeError: if it raises.

    """
    with random_states_kept():
        return _one_pass(deep_copy(dataset, {}), rows_in, progress)


def rows_in(batch: object) -> int:
    """Return how many samples a batch holds: the first dimension of the first tensor or array in it, else 0."""
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else 0
    inside = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (list, tuple)) else ()
    return next((rows for item in inside if (rows := rows_in(item))), 0)


class Sample(NamedTuple):
    """One item of a dataset, and the loader's own collate function."""

    item: Any
    collate: Callable[[list[Any]], Any]

    def batch(self, size: int) -> Any:  # noqa: ANN401 - whatever the collate function makes
        """Return a batch that holds this item ``size`` times; random states stay."""
        with random_states_kept():
            return self.collate([self._again() for _ in range(size)])

    def _again(self) -> Any:  # noqa: ANN401 - any item
        """Return the item, or a copy where a collate function may take keys out of it."""
        return self.item.copy() if isinstance(self.item, (dict, list)) else self.item


class NoSampleError(Exception):
    """No sample can be had without changing the loader, or the dataset's own code raises."""


def first_sample(loader: DataLoader[Any]) -> Sample:
    """Fetch the item that the loader's sampler would ask for first, in this process.

    Samplers and iterable datasets are copied first, and random states are put back. A map-style dataset is asked
    for one item, as a worker would.

    Raises:
        NoSampleError: the message says why there is none.

    """
    with random_states_kept():
        try:
            if loader.batch_sampler is None and loader.batch_size is None:
                return _of_batch(loader.collate_fn(_item(loader)))
            return Sample(_item(loader), loader.collate_fn)
        except NoSampleError:
            raise
        except CannotCopyError as error:
            raise NoSampleError(f"the dataset cannot be copied ({error}), and reading it would use it up") from error
        except StopIteration:
            raise NoSampleError("it yields no sample") from None
        except Exception as error:
            raise NoSampleError(f"fetching one raised {one_line(error)}") from error


def _of_batch(batch: Any) -> Sample:  # noqa: ANN401 - whatever the dataset made
    """Return a batch, which the dataset made itself (batch_size=None), as a sample of batches of any size."""
    rows = rows_in(batch)
    if not rows:
        raise NoSampleError("batch_size=None: what the dataset returns is a batch already, of a size of its own")

    def resized(batches: list[Any]) -> Any:  # noqa: ANN401 - as the batch
        size = len(batches)
        return map_tensors(batches[0], lambda t: resize_batch(t, size) if t.dim() and t.shape[0] == rows else t)

    return Sample(batch, resized)


def _item(loader: DataLoader[Any]) -> Any:  # noqa: ANN401 - any item
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset):
        return next(iter(deep_copy(dataset, {})))
    if loader.batch_sampler is None:
        return dataset[next(iter(_private_copy(loader.sampler, dataset)))]
    index = _first_index(loader)
    fetch = getattr(dataset, "__getitems__", None)  # DataLoader prefers it, and so may the dataset's author
    return fetch([index])[0] if fetch else dataset[index]


def _first_index(loader: DataLoader[Any]) -> Any:  # noqa: ANN401 - an index, or whatever a sampler yields
    batches = loader.batch_sampler
    try:
        copied = batches if isinstance(batches, (list, tuple)) else _private_copy(batches, loader.dataset)
    except CannotCopyError:
        return 0
    return next(iter(next(iter(copied))))


def notes_on(loader: DataLoader[Any]) -> Iterator[str]:
    """Yield a sentence for each part of the loader that may add samples to a batch or take some away."""
    yield from _on_collate(loader.collate_fn)
    yield from _on_getitems(loader.dataset)
    yield from _on_iteration(loader)


def _on_collate(collate: Any) -> Iterator[str]:  # noqa: ANN401 - any callable
    if collate in (default_collate, default_convert):
        return
    if of_graphs(collate):
        yield "sizes count graphs: a BatchNorm over nodes sees more values, one after pooling sees these"
        return
    name = getattr(collate, "__name__", type(collate).__name__)
    yield f"the collate function {name} may drop or join samples; the plan counts what it is given"


def of_graphs(collate: object) -> bool:
    """Whether this is PyTorch Geometric's collate function, which keeps every graph."""
    module = getattr(collate, "__module__", None) or type(collate).__module__
    return module.startswith("torch_geometric")


def _on_getitems(dataset: object) -> Iterator[str]:
    name = fetches_lists(dataset)
    if name is not None:
        yield f"{name}.__getitems__ fetches whole batches and may change their size"


def fetches_lists(dataset: object) -> str | None:
    """Return the class of the user's that fetches whole batches, looked for in torch's own Subset and ConcatDataset."""
    for data in datasets_in(dataset):
        module = type(data).__module__
        if hasattr(type(data), "__getitems__") and not module.startswith(("torch.utils.data", "datasets.")):
            return type(data).__name__
    return None


def datasets_in(dataset: Any) -> list[Any]:  # noqa: ANN401 - any dataset
    """Return the datasets that hold the samples, within torch's own Subset and ConcatDataset."""
    found: list[Any] = []
    held = [dataset]
    while held and len(found) < MOST_DATASETS:
        one = held.pop(0)
        own = type(one).__module__.startswith("torch.utils.data")
        inside = [getattr(one, "dataset", None), *getattr(one, "datasets", ())] if own else []
        inside = [data for data in inside if data is not None]
        held += inside
        found += [] if inside else [one]
    return found


def _on_iteration(loader: DataLoader[Any]) -> Iterator[str]:
    kind = type(loader)
    if kind.__iter__ is DataLoader.__iter__ or kind.__module__.startswith(("torch", "accelerate", "lightning")):
        return
    yield f"{kind.__name__} overrides __iter__; the plan is that of the DataLoader below it"
