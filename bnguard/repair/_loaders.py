"""``merge_tail`` and ``balance``: the same DataLoader, with batches that never fall under a minimum."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

from torch.utils.data import BatchSampler, DataLoader, IterableDataset
from torch.utils.data.distributed import DistributedSampler

from bnguard import _private_torch as private
from bnguard._audit_loader.follow import CannotCopyError, follow
from bnguard._audit_loader.foreign import is_repeated, one_epoch
from bnguard._audit_loader.one_loader import Inspection, inspect, law_of, yields_its_length
from bnguard._audit_loader.plan import Setup
from bnguard._audit_loader.sharding import make_plan
from bnguard._errors import RepairError, TargetError
from bnguard._ranks import rank_and_world_size
from bnguard.repair import _lightning as lightning
from bnguard.repair._batches import (
    BalancedBatchSampler,
    FlatIndices,
    MergedBatches,
    MergedStream,
    MergeTailBatchSampler,
    check_min_size,
    check_sizes,
    same,
    too_few,
)
from bnguard.repair._holders import repaired_inside

AnyLoader = TypeVar("AnyLoader")


def merge_tail(loader: AnyLoader, min_size: int = 2, *, verify: bool = True) -> AnyLoader:
    """Return a loader as this one in which a tail batch under ``min_size`` joins the batch before it.

    Nothing is lost and nothing is repeated: an epoch shows every sample that the sampler yields, also where the loader
    was told ``drop_last=True``. Dataset, sampler, collate function, workers, pinning, generator and the subclass are
    the same objects, and ``batch_size`` stays what was asked for. With a DistributedSampler each rank merges its own
    tail, at the same step; go on calling ``loader.sampler.set_epoch``. Where Lightning or Accelerate will divide the
    samples between ranks that are not there yet, each rank will merge its own tail as well.

    Of a ``batch_sampler`` of your own every small batch joins the one before it. The batches of an IterableDataset are
    made one ahead, in each worker; there ``len()`` knows of workers as little as torch's own.

    >>> loader = DataLoader(range(9), batch_size=8)
    >>> [len(batch) for batch in merge_tail(loader)]
    [9]

    Args:
        loader: stays as it is. One that drops nothing and is safe already, on any number of ranks, is returned itself.
            Of timm's PrefetchLoader, and of what Accelerate prepared for one process, the loader inside is repaired.
        min_size: the smallest batch, 2 or more.
        verify: audit the result, and raise if a smaller batch is still predicted.

    Raises:
        RepairError: the loader's batch size, or all its samples, are below ``min_size``; or it does not batch.
        TargetError: this is no DataLoader.

    """
    return _repaired(loader, MergeTailBatchSampler, min_size, verify)


def balance(loader: AnyLoader, min_size: int = 2, *, verify: bool = True) -> AnyLoader:
    """Return a loader as this one whose batches differ by one sample at most, and none is under ``min_size``.

    There are as many batches as before, or fewer where they would fall under ``min_size``. All else is as in
    :func:`merge_tail`.

    >>> [len(batch) for batch in balance(DataLoader(range(9), batch_size=8))]
    [5, 4]

    Args:
        loader: stays as it is. One whose batches are even, and safe on any number of ranks, is returned itself.
        min_size: the smallest batch, 2 or more.
        verify: audit the result, and raise if a smaller batch is still predicted.

    Raises:
        RepairError: as in :func:`merge_tail`; also for an IterableDataset, whose number of samples nobody knows
            beforehand, and for a ``batch_sampler`` whose sizes are meant to differ.
        TargetError: this is no DataLoader.

    """
    return _repaired(loader, BalancedBatchSampler, min_size, verify)


_AS_IT_IS = Inspection("loader", "train", Setup(batch_size=1))
"""What an audit of a live loader starts from; the loader itself says how it batches."""

_MOST_RANKS = 4096
"""Between so many ranks at most a loader is taken to be divided, by a framework that comes after the repair."""

_Kind = type[MergeTailBatchSampler] | type[BalancedBatchSampler]


def _repaired(loader: AnyLoader, kind: _Kind, min_size: int, verify: bool) -> AnyLoader:
    check_min_size(min_size)

    def repair(inner: DataLoader[Any]) -> DataLoader[Any]:
        change = _streamed if isinstance(inner.dataset, IterableDataset) else _rebatched
        changed = change(inner, kind, min_size)
        if verify and changed is not inner:
            _verify(changed, min_size)
        return changed

    repaired: AnyLoader = repaired_inside(loader, repair)
    return repaired


def _rebatched(loader: DataLoader[Any], kind: _Kind, min_size: int) -> DataLoader[Any]:
    """Replace the batch sampler; the sampler below it stays."""
    place = "sampler" if loader.batch_sampler is None else "batch_sampler"
    given: Any = getattr(loader, place)
    batches = one_epoch(given)
    if place == "sampler" and not isinstance(batches, BatchSampler):
        raise _no_batches()
    law = law_of(batches)
    if law is None:
        changed = _over_batches(batches, kind, min_size, loader.dataset)
    elif _is_done(law, kind, min_size) or _is_safe(loader, batches.sampler, kind, min_size):
        return loader
    else:
        changed = kind(batches.sampler, law["batch_size"], min_size=min_size)
    if is_repeated(given):
        repeated = copy.copy(given)
        repeated.sampler = changed
        changed = repeated
    parts = {place: changed, "drop_last": False}
    made: DataLoader[Any] = private.loader_with(loader, **parts)
    lightning.name_arguments(made)
    return made


def _is_done(law: dict[str, Any], kind: _Kind, min_size: int) -> bool:
    return (law["tail"], law.get("min_size")) == (kind.tail, min_size)


def _no_batches() -> RepairError:
    return RepairError(
        "this loader makes no batches (batch_size=None): the dataset does, and only it can join them",
        hint="let the dataset yield samples (of webdataset, leave .batched(…) out) and give the loader a batch_size",
    )


def _is_safe(loader: DataLoader[Any], sampler: Any, kind: _Kind, min_size: int) -> bool:  # noqa: ANN401
    """Whether it is certain, for every epoch and rank, that the repaired loader would give the same batches.

    A framework may still divide the samples of a plain sampler, between ranks that need not be there yet.
    """
    distributed = type(sampler) is DistributedSampler
    if not (yields_its_length(sampler) or distributed) or (rank_and_world_size()[1] > 1 and not distributed):
        return False
    found = inspect(loader, _AS_IT_IS)
    if found.setup is None or found.fact.samples is None:
        return False
    wanted = found.setup._replace(drop_last=False, tail=kind.tail, min_size=min_size)
    sizes = make_plan(found.fact.samples, wanted).streams
    enough = all(size >= min_size for stream in sizes for size, _ in stream.batches)
    same = enough and sizes == make_plan(found.fact.samples, found.setup).streams
    return same and (distributed or _is_safe_when_divided(found.fact.samples, found.setup, min_size))


def _is_safe_when_divided(samples: int, setup: Setup, min_size: int) -> bool:
    """Whether no batch is too small, or dropped, on any number of ranks that have enough samples for one batch each."""
    ranks = range(2, min(samples // min_size, _MOST_RANKS) + 1)
    tails = (-(-samples // world) % setup.batch_size for world in ranks)
    return not any(0 < tail < min_size or (tail and setup.drop_last) for tail in tails)


def _over_batches(batches: Any, kind: _Kind, min_size: int, dataset: object) -> Iterable[Any]:  # noqa: ANN401
    """Return what stands for a batch sampler with a law of its own."""
    if kind is MergeTailBatchSampler:
        return MergedBatches(batches, min_size, dataset)
    name = type(batches).__name__
    try:
        (seen,) = follow(batches, dataset, len, None, passes=1)
    except CannotCopyError as error:
        raise RepairError(
            f"the {name} cannot be looked through ({error}), so its batches cannot be balanced",
            hint="bnguard.repair.merge_tail joins small batches as they come",
        ) from error
    size = seen.sizes[0][0] if seen.sizes else min_size
    if not seen.ended or any(other != size for other, _ in seen.sizes[:-1]) or seen.sizes[-1][0] > size:
        raise RepairError(
            f"the batches of {name} are meant to differ in size, and balancing would undo that",
            hint="bnguard.repair.merge_tail joins only those that are too small",
        )
    return kind(FlatIndices(batches, dataset), size, min_size=min_size)


def _streamed(loader: DataLoader[Any], kind: _Kind, min_size: int) -> DataLoader[Any]:
    """Let the dataset make the batches, one ahead."""
    dataset: Any = loader.dataset
    if kind is BalancedBatchSampler:
        raise RepairError(
            f"{type(dataset).__name__} is an IterableDataset: nobody knows how many samples are still to come",
            hint="bnguard.repair.merge_tail holds one batch back and joins the tail to it, in each worker",
        )
    if isinstance(dataset, MergedStream) and dataset.min_size == min_size:
        return loader
    if loader.batch_size is None:
        raise _no_batches()
    check_sizes(loader.batch_size, min_size)
    try:
        length = len(dataset)
    except Exception:  # noqa: BLE001 - most have none, and other people's raise anything
        length = None
    if length is not None and 0 < length < min_size:
        raise too_few(length, min_size, f"the {type(dataset).__name__} holds")
    stream = MergedStream(dataset, loader.batch_size, min_size, loader.collate_fn)
    changed: DataLoader[Any] = private.loader_with(
        loader, dataset=stream, batch_size=None, batch_sampler=None, drop_last=False, collate_fn=same
    )
    return changed


def _verify(loader: DataLoader[Any], min_size: int) -> None:
    """Audit the repaired loader; what cannot be known beforehand is watched while batches are made.

    Where the sizes are those of a copy that is followed, too few samples raise while it is.
    """
    try:
        fact = inspect(loader, _AS_IT_IS).fact
    except TargetError:  # endless: it has no tail
        return
    small = [size for stream in fact.streams for size, _ in stream.batches if size < min_size]
    if small and fact.unknown is None:
        raise RepairError(
            f"a batch of {small[0]} would still come, and no batch may hold fewer than {min_size}",
            hint="audit the loader to see where: bnguard.audit_loader(loader)",
        )
