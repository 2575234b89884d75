"""Batch samplers that never yield a batch under a minimum, and lose and repeat nothing.

They give indices alone, so any DataLoader takes them as ``batch_sampler=``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, ClassVar

import torch
from torch.utils.data import BatchSampler, IterableDataset, Sampler, get_worker_info

from bnguard._audit_loader.follow import follow
from bnguard._audit_loader.plan import batches
from bnguard._audit_loader.sharding import is_from
from bnguard._errors import RepairError, UsageError
from bnguard._remedies import ALLOW_SINGLE_SAMPLE, MORE_SAMPLES
from bnguard.repair import _lightning as lightning


def too_few(samples: int, min_size: int, who: str = "the sampler yields") -> RepairError:
    """Return the error for an epoch that cannot hold one batch of the wanted size; ``who`` ends in the verb.

    An error of a worker reaches the user as its message alone, so there the way out is a part of that.
    """
    worker = get_worker_info()
    where = f"worker {worker.id} of {worker.num_workers}: " if worker else ""
    message = (
        f"{where}{who} {samples} sample{'s' * (samples != 1)} in an epoch, and no batch may hold fewer than {min_size}"
    )
    if worker:
        return RepairError(f"{message}; use fewer workers")
    return RepairError(message, hint=f"{MORE_SAMPLES.does}; or {ALLOW_SINGLE_SAMPLE.for_case().text}")


def _merged(batches: Iterable[Any], min_size: int, who: str = "the sampler yields") -> Iterator[Any]:
    """Yield the batches, each one under ``min_size`` joined to the batch before it (a first one to the next).

    One batch is held back, so that the last can still grow. No list of the caller's is changed.

    Raises:
        RepairError: all batches together hold fewer samples than ``min_size``; ``who`` begins its message.

    """
    held: Any = ()
    for given in batches:
        batch = given if hasattr(given, "__len__") else list(given)
        if len(batch) >= min_size <= len(held):
            yield held
            held = _copied(batch)
        elif len(batch):
            held = _joined(held, batch) if len(held) else _copied(batch)
    if 0 < len(held) < min_size:
        raise too_few(len(held), min_size, who)
    if len(held):
        yield held


def _is_array(batch: Any) -> bool:  # noqa: ANN401 - a list, an array or a tensor of indices
    return is_from(batch, "numpy", "ndarray")


def _copied(batch: Any) -> Any:  # noqa: ANN401 - see above
    """Return a batch that its sampler may fill anew; an array stays one, for datasets that take whole batches."""
    if isinstance(batch, torch.Tensor):
        return batch.clone()
    return batch.copy() if _is_array(batch) else list(batch)


def _joined(held: Any, batch: Any) -> Any:  # noqa: ANN401 - see above
    """Return one batch of two, of which the first may be changed: an array of two arrays of a kind, else a list."""
    if isinstance(held, torch.Tensor) and isinstance(batch, torch.Tensor):
        return torch.cat([held, batch])
    if _is_array(held) and _is_array(batch):
        return sys.modules["numpy"].concatenate([held, batch])
    held = held if isinstance(held, list) else list(held)
    held.extend(batch)
    return held


def check_min_size(min_size: int) -> None:
    """Raise UsageError unless it is a whole number from 2 on."""
    if isinstance(min_size, bool) or not isinstance(min_size, int) or min_size < 2:
        raise UsageError(f"min_size is {min_size!r}", hint="2 is the smallest batch that has a variance")


def check_sizes(batch_size: object, min_size: int) -> None:
    """Raise unless batches of this size reach the minimum: no tail is to blame where all of them are too small."""
    check_min_size(min_size)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < min_size:
        raise RepairError(
            f"batch_size is {batch_size}, and no batch may hold fewer than {min_size} samples",
            hint=f"raise batch_size to {min_size} or more; or {ALLOW_SINGLE_SAMPLE.for_case().text}",
        )


def _number_of_batches(samples: int, size: int, tail: str, min_size: int) -> int:
    return sum(count for _, count in batches(samples, size, drop_last=False, tail=tail, min_size=min_size))


class _TailBatchSampler(BatchSampler):
    """What both have in common: a sampler of indices, a batch size, a minimum.

    Attributes:
        size: the batch size that was asked for.

    """

    tail: ClassVar[str]
    sampler: Any

    def __init__(
        self,
        sampler: Any,  # noqa: ANN401 - any iterable of indices
        batch_size: int,
        drop_last: bool = False,
        min_size: int = 2,
    ) -> None:
        check_sizes(batch_size, min_size)
        if drop_last:
            raise RepairError(f"{type(self).__name__} drops nothing", hint="leave drop_last out")
        self.sampler = sampler
        self.size = batch_size
        self.min_size = min_size
        self.drop_last = False
        if hasattr(sampler, "__len__") and 0 < len(sampler) < min_size:
            raise too_few(len(sampler), min_size)
        lightning.note_arguments(self, sampler=sampler, batch_size=batch_size, drop_last=False, min_size=min_size)

    @property
    def batch_size(self) -> int | None:  # type: ignore[override]
        """The batch size that was asked for; the batches differ from it, and whom that confuses is told None."""
        return _for_reader(self.size)

    def __len__(self) -> int:
        """Return the number of batches; it follows the sampler's own length."""
        return _number_of_batches(len(self.sampler), self.size, self.tail, self.min_size)

    def set_epoch(self, epoch: int) -> None:
        """Tell the sampler which epoch begins, where it wants to know."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)


def _for_reader(batch_size: int) -> int | None:
    """Return the batch size for the function that reads it, two frames up.

    Accelerate's ``BatchSamplerShard`` takes it for the size of every batch: it refills batches of another size, or
    leaves them out. The batches of a sampler without one it passes on whole (``accelerate/data_loader.py``).
    """
    reader = sys._getframe(2).f_locals.get("self")
    return None if is_from(reader, "accelerate", "BatchSamplerShard") else batch_size


class MergeTailBatchSampler(_TailBatchSampler):
    """Batches of ``batch_size``; a tail under ``min_size`` joins the batch before it.

    >>> list(MergeTailBatchSampler(range(9), 4))
    [[0, 1, 2, 3], [4, 5, 6, 7, 8]]

    Args:
        sampler: yields indices; its order and its epochs stay its own.
        batch_size: ``min_size`` or more; the last batch may hold up to ``min_size - 1`` more.
        drop_last: False; there for those who build batch samplers anew, as Lightning does.
        min_size: no batch holds fewer samples.

    Raises:
        RepairError: the batch size or the sampler's length is below ``min_size``.

    """

    tail = "merge"

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield lists of indices."""
        return _merged(BatchSampler(self.sampler, self.size, drop_last=False), self.min_size)


class BalancedBatchSampler(_TailBatchSampler):
    """As few batches as ``batch_size`` allows, whose sizes differ by one at most.

    >>> list(BalancedBatchSampler(range(9), 4))
    [[0, 1, 2], [3, 4, 5], [6, 7, 8]]

    Arguments and errors are those of :class:`MergeTailBatchSampler`. Where ``batch_size`` would leave batches under
    ``min_size``, there is one batch fewer and they are larger: 3 samples at batch size 2 are one batch of 3.
    """

    tail = "balance"

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield lists of indices; those of the whole epoch are drawn first, since their number decides."""
        order = list(self.sampler)
        if 0 < len(order) < self.min_size:
            raise too_few(len(order), self.min_size)
        rest = iter(order)
        for size, count in batches(len(order), self.size, drop_last=False, tail=self.tail, min_size=self.min_size):
            for _ in range(count):
                yield list(islice(rest, size))


class _OverBatches(Sampler[Any]):
    """Over a batch sampler whose law is its own; its length is counted on a copy, then on each whole pass."""

    def __init__(self, batch_sampler: Any, dataset: object = None) -> None:  # noqa: ANN401 - any iterable of lists
        self.batch_sampler = batch_sampler
        self._dataset = dataset
        self._count: int | None = None

    def _items(self, batches: Any) -> Iterator[Any]:  # noqa: ANN401 - see above
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        """Yield what the batch sampler's batches become."""
        count = 0
        for item in self._items(self.batch_sampler):
            count += 1
            yield item
        self._count = count

    def __len__(self) -> int:
        """Return how many items an epoch has: those of the last whole pass, else those of a copy."""
        if self._count is None:
            (seen,) = follow(self, self._dataset, lambda _item: 1, None, passes=1)
            self._count = sum(count for _, count in seen.sizes)
        return self._count

    def set_epoch(self, epoch: int) -> None:
        """Tell the batch sampler, or the sampler below it, which epoch begins."""
        self._count = None
        below: Any = self.batch_sampler
        if not hasattr(below, "set_epoch"):
            below = getattr(below, "sampler", None)
        if hasattr(below, "set_epoch"):
            below.set_epoch(epoch)


class MergedBatches(_OverBatches):
    """Any batch sampler's batches, each one under ``min_size`` joined to the batch before it.

    For batch samplers that draw their own borders, such as buckets by length.
    """

    def __init__(self, batch_sampler: Any, min_size: int = 2, dataset: object = None) -> None:  # noqa: ANN401
        check_min_size(min_size)
        super().__init__(batch_sampler, dataset)
        self.min_size = min_size

    def _items(self, batches: Any) -> Iterator[Any]:  # noqa: ANN401 - see above
        return _merged(batches, self.min_size)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the batch sampler has
        """Pass on what others read of a batch sampler; not ``drop_last``, which says how to build it anew."""
        if name not in ("sampler", "batch_size") or "batch_sampler" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        value = getattr(self.batch_sampler, name)
        return _for_reader(value) if name == "batch_size" else value


class FlatIndices(_OverBatches):
    """The indices of a batch sampler, one by one, in its order."""

    def _items(self, batches: Any) -> Iterator[Any]:  # noqa: ANN401 - see above
        return chain.from_iterable(batches)


# --------------------------------------------------------------------------------------- batches of an IterableDataset


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
        stream = iter(self.dataset)
        cut = iter(lambda: list(islice(stream, self.size)), [])
        yield from map(self.collate, _merged(cut, self.min_size, "the stream yields"))

    def __len__(self) -> int:
        """Return the number of batches of one worker; TypeError where the dataset has no length."""
        return _number_of_batches(len(self.dataset), self.size, "merge", self.min_size)

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
