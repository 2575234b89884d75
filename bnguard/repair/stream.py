"""Batches of an IterableDataset, made one batch ahead so that a tail can join the batch before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from bnguard.errors import RepairError
from bnguard.loader.sizes import batches
from bnguard.repair.batches import merged, shortage, too_few


class MergedStream(IterableDataset[Any]):
    """An IterableDataset that yields whole batches of another one, none under ``min_size``.

    Each DataLoader worker holds a copy and so merges the tail of its own stream. Every other attribute is that of the
    dataset inside, for reading and for writing: a ``worker_init_fn`` that divides the work, and ``set_epoch``, find
    what they know.

    Args:
        dataset: yields samples.
        size: samples of a batch.
        min_size: no batch holds fewer.
        collate: makes a batch of a list of samples.

    """

    _OWN = ("dataset", "size", "min_size", "collate")

    def __init__(self, dataset: Any, size: int, min_size: int, collate: Callable[[list[Any]], Any]) -> None:  # noqa: ANN401
        self.dataset = dataset
        self.size = size
        self.min_size = min_size
        self.collate = collate

    def __iter__(self) -> Iterator[Any]:
        """Yield collated batches.

        Raises:
            RepairError: the whole stream of this worker holds fewer than ``min_size`` samples.

        """
        for samples in merged(_cut(self.dataset, self.size), self.min_size, _too_few):
            yield self.collate(samples)

    def __len__(self) -> int:
        """Return the number of batches of one worker; TypeError where the dataset has no length."""
        plan = batches(len(self.dataset), self.size, drop_last=False, tail="merge", min_size=self.min_size)
        return sum(count for _, count in plan)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the dataset has
        """Pass on what this class does not have; not while a copy is being made and nothing is there yet."""
        if "dataset" not in vars(self) or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: object) -> None:
        """Pass on what is not this class's own."""
        if name in self._OWN:
            super().__setattr__(name, value)
        else:
            setattr(self.dataset, name, value)


def same(batch: Any) -> Any:  # noqa: ANN401 - whatever collate made
    """Return the batch as it is: it is collated already. A function that workers can import."""
    return batch


def _cut(samples: Iterable[Any], size: int) -> Iterator[list[Any]]:
    stream = iter(samples)
    while batch := list(islice(stream, size)):
        yield batch


def _too_few(samples: int, min_size: int) -> RepairError:
    """Return the error for a stream that cannot fill one batch; a worker's reaches the user as its message alone."""
    worker = get_worker_info()
    if worker is None:
        return too_few(samples, min_size, "the stream yields")
    who = f"worker {worker.id} of {worker.num_workers}: the stream yields"
    return RepairError(f"{shortage(samples, min_size, who)}; use fewer workers")
