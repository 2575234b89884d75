"""``merge_tail`` and ``balance``: the same DataLoader, with batches that never fall under a minimum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from torch.utils.data import BatchSampler, DataLoader, IterableDataset
from torch.utils.data.distributed import DistributedSampler

from bnguard import _private_torch as private
from bnguard._audit_loader.follow import CannotCopyError, follow
from bnguard._audit_loader.one_loader import Inspection, inspect, law_of, yields_its_length
from bnguard._audit_loader.plan import Setup
from bnguard._audit_loader.sharding import make_plan
from bnguard._errors import RepairError, TargetError
from bnguard._ranks import rank_and_world_size
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

AnyLoader = TypeVar("AnyLoader", bound=DataLoader[Any])


def merge_tail(loader: AnyLoader, min_size: int = 2, *, verify: bool = True) -> AnyLoader:
    """Return a loader as this one in which a tail batch under ``min_size`` joins the batch before it.

    Nothing is lost and nothing is repeated: an epoch shows every sample that the sampler yields, also where the loader
    was told ``drop_last=True``. Dataset, sampler, collate function, workers, pinning, generator and the subclass are
    the same objects; as with every ``batch_sampler``, ``batch_size`` of the result is None. With a DistributedSampler
    each rank merges its own tail, at the same step; go on calling ``loader.sampler.set_epoch``.

    Of a ``batch_sampler`` of your own every small batch joins the one before it. The batches of an IterableDataset are
    made one ahead, in each worker; there ``len()`` knows of workers as little as torch's own.

    >>> loader = DataLoader(range(9), batch_size=8)
    >>> [len(batch) for batch in merge_tail(loader)]
    [9]

    Args:
        loader: stays as it is. One that is safe already, and drops nothing, is returned itself.
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
        loader: stays as it is. One whose batches are even is returned itself.
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

_Kind = type[MergeTailBatchSampler] | type[BalancedBatchSampler]


def _repaired(loader: AnyLoader, kind: _Kind, min_size: int, verify: bool) -> AnyLoader:
    check_min_size(min_size)
    _require_loader(loader)
    if isinstance(loader.dataset, IterableDataset):
        changed = _streamed(loader, kind, min_size)
    else:
        changed = _rebatched(loader, kind, min_size)
    if verify and changed is not loader:
        _verify(changed, min_size)
    return changed


def _require_loader(loader: object) -> None:
    if not isinstance(loader, DataLoader):
        inner = next((n for n in ("loader", "dataloader") if isinstance(getattr(loader, n, None), DataLoader)), None)
        where = f"repair the DataLoader in its .{inner} before it is wrapped" if inner else "give a DataLoader"
        raise TargetError(f"a {type(loader).__name__} is no DataLoader", hint=where)
    if type(loader).__module__.partition(".")[0] == "accelerate":
        raise RepairError(
            "this loader was prepared by Accelerate, which deals out its batches", hint="repair it before prepare()"
        )


def _rebatched(loader: AnyLoader, kind: _Kind, min_size: int) -> AnyLoader:
    """Replace the batch sampler; the sampler below it stays."""
    place = "sampler" if loader.batch_sampler is None else "batch_sampler"
    batches: Any = getattr(loader, place)
    if place == "sampler" and not isinstance(batches, BatchSampler):
        raise _no_batches()
    law = law_of(batches)
    if law is None:
        return _with(loader, place, _over_batches(batches, kind, min_size, loader.dataset))
    if (law["tail"], law.get("min_size")) == (kind.tail, min_size) or _is_safe(loader, batches.sampler, kind, min_size):
        return loader
    return _with(loader, place, kind(batches.sampler, law["batch_size"], min_size=min_size))


def _with(loader: AnyLoader, place: str, batches: object) -> AnyLoader:
    changed: AnyLoader = private.loader_with(loader, **{place: batches, "batch_size": None, "drop_last": False})
    return changed


def _no_batches() -> RepairError:
    return RepairError(
        "this loader makes no batches (batch_size=None): the dataset does, and only it can join them",
        hint="give the loader a batch_size, or merge in the dataset",
    )


def _is_safe(loader: DataLoader[Any], sampler: Any, kind: _Kind, min_size: int) -> bool:  # noqa: ANN401
    """Whether it is certain, for every epoch and rank, that the repaired loader would give the same batches.

    Where there are several ranks a framework may still divide the samples of a plain sampler between them.
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
    return enough and sizes == make_plan(found.fact.samples, found.setup).streams


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


def _streamed(loader: AnyLoader, kind: _Kind, min_size: int) -> AnyLoader:
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
    changed: AnyLoader = private.loader_with(
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
