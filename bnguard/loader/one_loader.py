"""One live DataLoader to the plan of its epoch: by law where its samplers are known, by looking where not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from bnguard.errors import TargetError, UsageError
from bnguard.loader import loader_notes
from bnguard.loader.numbers import check_setup
from bnguard.loader.plan import Plan, Setup, samples_per_rank
from bnguard.loader.summary import describe, summarise
from bnguard.loader.untouched import MOST_BATCHES, CannotCopyError, Seen, count_items, follow, user_error
from bnguard.loader_facts import LoaderFact, Runs, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from bnguard.facts import Mode

_LAWFUL = (SequentialSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
"""Samplers that yield exactly ``len(sampler)`` indices."""

_LAWFUL_ELSEWHERE = {("accelerate", "SeedableRandomSampler"), ("lightning", "DistributedSamplerWrapper")}
"""Subclasses with an ``__iter__`` of their own that keep the law of their base, by package and class."""

_REPAIRED = ("MergeTailBatchSampler", "BalancedBatchSampler")
"""The batch samplers of ``bnguard.repair``, which is built on this room and so is not imported here."""


class Inspection(NamedTuple):
    """What is asked of one loader."""

    name: str
    mode: Mode
    setup: Setup
    counting: bool = False
    progress: Callable[[int], None] | None = None


class Inspected(NamedTuple):
    """The fact, and the setup to re-plan it with; None where the plan is not by law."""

    fact: LoaderFact
    setup: Setup | None = None


def inspect(loader: DataLoader[Any], asked: Inspection) -> Inspected:
    """Return every batch size of one epoch of the loader, or why it is not known.

    No sample is fetched (unless ``asked.counting`` says so), no worker starts, no state moves.
    """
    if _is_from(loader, "accelerate", "DataLoaderDispatcher") and _ranks_of(loader) > 1:
        why = "Accelerate's dispatcher joins and deals out batches: audit it with --sharding accelerate-dispatch"
        found = Inspected(_bare(loader, asked, unknown=why))
    elif isinstance(loader.dataset, IterableDataset):
        found = _iterable(loader, asked)
    elif loader.batch_sampler is None:
        found = _unbatched(loader, asked)
    else:
        found = _batched(loader, loader.batch_sampler, asked)
    notes = (*found.fact.notes, *loader_notes.notes_on(loader))
    return found._replace(fact=replace(found.fact, notes=notes))


def _bare(loader: DataLoader[Any], asked: Inspection, **more: Any) -> LoaderFact:  # noqa: ANN401 - fields of the fact
    fact = LoaderFact(
        name=asked.name,
        mode=asked.mode,
        samples=None,
        batch_size=loader.batch_size,
        drop_last=loader.drop_last,
        streams=(),
        replicas=asked.setup.replicas,
        micro_batches=asked.setup.micro_batches,
    )
    return replace(fact, **more)


# ------------------------------------------------------------------------------------ map-style datasets


def _unbatched(loader: DataLoader[Any], asked: Inspection) -> Inspected:
    if isinstance(loader.sampler, BatchSampler):
        found = _batched(loader, loader.sampler, asked)
        note = "batch_size=None with a BatchSampler as sampler: the dataset gets each list of indices"
        return found._replace(fact=replace(found.fact, notes=(*found.fact.notes, note)))
    why = "batch_size=None adds no batch dimension: the size is that of what the dataset returns"
    return Inspected(_bare(loader, asked, unknown=why))


def _batched(loader: DataLoader[Any], batch_sampler: Any, asked: Inspection) -> Inspected:  # noqa: ANN401
    if _is_from(batch_sampler, "accelerate", "BatchSamplerShard"):
        return _accelerated(loader, batch_sampler, asked)
    law = law_of(batch_sampler)
    if law is not None:
        return _plain(loader, batch_sampler.sampler, asked.setup._replace(**law), asked)
    return _followed(loader, batch_sampler, asked)


def law_of(batch_sampler: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any iterable of lists
    """Return what a batch sampler does with its sampler's indices, as fields of a Setup; None if that is its own.

    Known are torch's BatchSampler and those of ``bnguard.repair``.
    """
    if _inherits(batch_sampler, (BatchSampler,)):
        return {"batch_size": batch_sampler.batch_size, "drop_last": batch_sampler.drop_last, "tail": "keep"}
    if any(_is_from(batch_sampler, "bnguard", name) for name in _REPAIRED):
        return {
            "batch_size": batch_sampler.size,
            "drop_last": False,
            "tail": batch_sampler.tail,
            "min_size": batch_sampler.min_size,
        }
    return None


def _plain(loader: DataLoader[Any], sampler: Any, setup: Setup, asked: Inspection) -> Inspected:  # noqa: ANN401
    """Plan batches of a known law over some sampler, such as ``S(len(sampler), batch_size, drop_last)``."""
    size, drop = setup.batch_size, setup.drop_last
    if isinstance(sampler, DistributedSampler):
        return _distributed(loader, sampler, setup, asked)
    try:
        length = _length(loader, sampler, asked)
    except CannotCopyError as error:
        why = f"the {type(sampler).__name__} cannot be copied ({error}), and following it would use it up"
        return Inspected(_bare(loader, asked, batch_size=size, drop_last=drop, unknown=why))
    notes = ["the sampler yields lists of indices: each becomes one item of a batch (meant as batch_sampler=?)"]
    fact = describe(asked.name, asked.mode, length, setup, notes if isinstance(sampler, BatchSampler) else ())
    return Inspected(fact, setup)


def yields_its_length(sampler: object) -> bool:
    """Whether it is law that the sampler yields ``len(sampler)`` items in every epoch."""
    return isinstance(sampler, (list, tuple, range)) or _inherits(sampler, _LAWFUL) or _trusted(sampler)


def _length(loader: DataLoader[Any], sampler: Any, asked: Inspection) -> int:  # noqa: ANN401 - any iterable
    """Return how many items a sampler yields: its length where that is law, else by following a copy."""
    if yields_its_length(sampler):
        try:
            return len(sampler)
        except Exception as error:
            raise user_error(f"len() of the {type(sampler).__name__}", error) from error
    if _inherits(sampler, (BatchSampler,)):
        length = _length(loader, sampler.sampler, asked)
        full, rest = divmod(length, int(sampler.batch_size))
        return full if sampler.drop_last or not rest else full + 1
    seen = follow(sampler, loader.dataset, lambda _index: 1, asked.progress)
    if not seen[0].ended:
        raise _endless(asked.name, "sampler")
    return sum(count for _, count in seen[0].sizes)


def _distributed(
    loader: DataLoader[Any], sampler: DistributedSampler[Any], setup: Setup, asked: Inspection
) -> Inspected:
    """Plan the ranks of a DistributedSampler: all of them, as far as its law holds."""
    world = sampler.num_replicas
    if setup.world_size not in (1, world):
        raise UsageError(
            f"--world-size {setup.world_size} contradicts the DistributedSampler of {asked.name} ({world} ranks)",
            hint="leave --world-size out",
        )
    total = len(sampler.dataset)  # type: ignore[arg-type] # datasets have a length here, or the sampler none
    if type(sampler).__name__ == "UnrepeatedDistributedSampler":
        setup = setup._replace(world_size=world, uneven=world > 1, sampler_drop_last=False)
        return Inspected(describe(asked.name, asked.mode, total, setup), setup)
    lawful = _inherits(sampler, (DistributedSampler,)) or _trusted(sampler)
    if lawful and sampler.num_samples == samples_per_rank(total, world, sampler.drop_last):
        setup = setup._replace(world_size=world, sampler_drop_last=sampler.drop_last)
        return Inspected(describe(asked.name, asked.mode, total, setup), setup)
    mine = follow(sampler, loader.dataset, lambda _index: 1, asked.progress)[0]
    if not mine.ended:
        raise _endless(asked.name, "sampler")
    alone = setup._replace(world_size=1, sampler_drop_last=False, uneven=False)
    fact = describe(asked.name, asked.mode, sum(count for _, count in mine.sizes), alone)
    rank = sampler.rank
    streams = tuple(replace(s, ranks=(rank, rank)) for s in fact.streams)
    lone = replace(fact.first_single, rank=rank) if fact.first_single else None
    why = f"{type(sampler).__name__} is no plain DistributedSampler: only rank {rank} of {world} was looked at"
    return Inspected(replace(fact, streams=streams, first_single=lone, world_size=world, unknown=why))


def _accelerated(loader: DataLoader[Any], shard: Any, asked: Inspection) -> Inspected:  # noqa: ANN401
    inner = shard.batch_sampler
    if not _inherits(inner, (BatchSampler,)) or isinstance(inner.sampler, DistributedSampler):
        return _followed(loader, shard, asked, world=shard.num_processes, rank=shard.process_index)
    setup = asked.setup._replace(
        batch_size=inner.batch_size,
        drop_last=inner.drop_last,
        world_size=shard.num_processes,
        sharding="accelerate-split" if shard.split_batches else "accelerate",
        uneven=not shard.even_batches and shard.num_processes > 1,
    )
    return Inspected(describe(asked.name, asked.mode, _length(loader, inner.sampler, asked), setup), setup)


def _followed(
    loader: DataLoader[Any],
    batches: Any,  # noqa: ANN401 - any iterable of lists
    asked: Inspection,
    world: int = 1,
    rank: int = 0,
) -> Inspected:
    """Any other batch_sampler: the sizes that a copy of it yields."""
    if asked.setup.world_size > 1:
        raise UsageError(
            f"how several ranks share the {type(batches).__name__} of {asked.name} is not known",
            hint="leave --world-size out",
        )
    bare = _bare(loader, asked, batch_size=None, drop_last=False, world_size=world)
    try:
        passes = follow(batches, loader.dataset, _size, asked.progress)
    except CannotCopyError as error:
        why = f"the {type(batches).__name__} cannot be copied ({error}), and following it would use it up"
        return Inspected(replace(bare, unknown=why))
    seen = _worst(passes)
    if not seen.ended and not hasattr(batches, "__len__"):
        raise _endless(asked.name, "batch_sampler")
    stream = Stream((rank, rank), seen.sizes)
    fact = summarise(replace(bare, samples=stream.total), Plan((stream,), 0))
    fact = replace(fact, unused=None, notes=_followed_notes(batches, passes))
    if not seen.ended:
        why = f"only the first {stream.steps:,} batches of a longer epoch were looked at"
        fact = replace(fact, unknown=why, samples=None, steps=None)
    elif world > 1:
        fact = replace(fact, unknown=f"only rank {rank} of {world} was looked at")
    return Inspected(fact)


def _worst(passes: list[Seen]) -> Seen:
    """Return the first epoch that holds a batch of one, else the first."""
    return next((seen for seen in passes if any(size == 1 for size, _ in seen.sizes)), passes[0])


def _followed_notes(batches: object, passes: list[Seen]) -> tuple[str, ...]:
    if isinstance(batches, (list, tuple)):
        return ()
    kinds = {tuple(sorted(_tally(seen.sizes).items())) for seen in passes}
    name = type(batches).__name__
    if len(kinds) > 1:
        return (f"the batch sizes of {name} vary from epoch to epoch; {len(passes)} were looked at",)
    return (f"sizes as {name} yields them; if it shuffles, another epoch may order them differently",)


def _tally(sizes: Runs) -> dict[int, int]:
    found: dict[int, int] = {}
    for size, count in sizes:
        found[size] = found.get(size, 0) + count
    return found


def _size(batch: Any) -> int:  # noqa: ANN401 - a list, or any iterable of indices
    return len(batch) if hasattr(batch, "__len__") else sum(1 for _ in batch)


def _endless(name: str, what: str) -> TargetError:
    return TargetError(
        f"the {what} of {name} did not end within {MOST_BATCHES:,} items, so there is no epoch to audit",
        hint="audit one round of it, or describe it by numbers: --n 9 --bs 8",
    )


# ------------------------------------------------------------------------------------- iterable datasets


def _iterable(loader: DataLoader[Any], asked: Inspection) -> Inspected:
    """Plan an IterableDataset: each worker batches its own stream, and nobody need know how long it is."""
    dataset: Any = loader.dataset
    setup = asked.setup._replace(iterable=True, workers=loader.num_workers)
    if _is_from(dataset, "bnguard", "MergedStream"):
        setup = setup._replace(batch_size=dataset.size, drop_last=False, tail="merge", min_size=dataset.min_size)
        dataset = dataset.dataset
    elif loader.batch_size is None:
        why = "batch_size=None: the IterableDataset makes the batches itself, and their sizes are not known"
        return Inspected(_bare(loader, asked, unknown=why))
    else:
        setup = setup._replace(batch_size=loader.batch_size, drop_last=loader.drop_last)
    if _is_from(dataset, "accelerate", "IterableDatasetShard"):
        split = dataset.split_batches
        world = dataset.num_processes
        sharding = "accelerate-split" if split else "accelerate"
        size = setup.batch_size * (world if split else 1)
        setup = setup._replace(world_size=world, sharding=sharding, batch_size=size)
        dataset = dataset.dataset
    check_setup(setup)
    length, source = _iterable_length(dataset, asked)
    if length is None:
        notes = ("drop_last=True: every batch that comes is full",) if loader.drop_last else ()
        bare = _bare(loader, asked, workers=loader.num_workers, unknown=source, notes=notes)
        return Inspected(bare)
    fact = describe(asked.name, asked.mode, length, setup, (source,))
    return Inspected(fact, setup if fact.unknown is None else None)


def _iterable_length(dataset: Any, asked: Inspection) -> tuple[int | None, str]:  # noqa: ANN401
    """Return the number of samples, if known, and how it is known or why not."""
    try:
        return len(dataset), "the number of samples is what the dataset's __len__ says"
    except Exception:  # noqa: BLE001 - a missing __len__ raises TypeError, other people's raise anything
        pass
    if not asked.counting:
        return None, "the IterableDataset has no length (--count reads it once to find out)"
    try:
        count, ended = count_items(dataset, asked.progress)
    except CannotCopyError as error:
        return None, f"the IterableDataset cannot be copied ({error}), and counting it would use it up"
    if not ended:
        return None, f"the IterableDataset did not end within {count:,} samples"
    return count, "the samples were counted by reading the dataset once, in one process"


# ------------------------------------------------------------------------------------------- recognising


def _ranks_of(dispatcher: Any) -> int:  # noqa: ANN401 - Accelerate's, which is not imported
    return int(dispatcher.state.num_processes)


def _inherits(sampler: object, bases: tuple[type, ...]) -> bool:
    """Whether the sampler is one of these and iterates and counts as they do."""
    kind = type(sampler)
    return any(
        isinstance(sampler, base) and kind.__iter__ is base.__iter__ and kind.__len__ is base.__len__  # type: ignore[attr-defined]
        for base in bases
    )


def _trusted(sampler: object) -> bool:
    return any(_is_from(sampler, package, name) for package, name in _LAWFUL_ELSEWHERE)


def _is_from(value: object, package: str, name: str) -> bool:
    """Whether the value's class has this name and lives in such a package (``pytorch_lightning`` too)."""
    kind = type(value)
    return kind.__name__ == name and package in kind.__module__.partition(".")[0]
