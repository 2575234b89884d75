"""One sample of a live DataLoader, collated as the loader would, without the loader noticing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.utils.data import DataLoader, IterableDataset

from bnguard.loader.untouched import CannotCopyError, private_copy
from bnguard.untouched import random_states_kept
from bnguard.usercode import one_line

if TYPE_CHECKING:
    from collections.abc import Callable


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
    if loader.batch_size is None and loader.batch_sampler is None:
        raise NoSampleError("batch_size=None: what the dataset returns is a batch already, of a size of its own")
    with random_states_kept():
        try:
            return Sample(_item(loader), loader.collate_fn)
        except CannotCopyError as error:
            raise NoSampleError(f"the dataset cannot be copied ({error}), and reading it would use it up") from error
        except StopIteration:
            raise NoSampleError("it yields no sample") from None
        except Exception as error:
            raise NoSampleError(f"fetching one raised {one_line(error)}") from error


def _item(loader: DataLoader[Any]) -> Any:  # noqa: ANN401 - any item
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset):
        try:
            mine = copy.deepcopy(dataset)
        except Exception as error:
            raise CannotCopyError(one_line(error)) from error
        return next(iter(mine))
    index = _first_index(loader)
    fetch = getattr(dataset, "__getitems__", None)  # DataLoader prefers it, and so may the dataset's author
    return fetch([index])[0] if fetch else dataset[index]


def _first_index(loader: DataLoader[Any]) -> Any:  # noqa: ANN401 - an index, or whatever a sampler yields
    batches = loader.batch_sampler
    try:
        mine = batches if isinstance(batches, (list, tuple)) else private_copy(batches, loader.dataset)
    except CannotCopyError:
        return 0
    return next(iter(next(iter(mine))))
