"""One live DataLoader to the plan of its epoch: by law where its samplers are known, by looking where not."""

from __future__ import annotations

from collections import Counter
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

from bnguard._audit_loader.follow import (
    MOST_BATCHES,
    CannotCopyError,
    Seen,
    count_items,
    follow,
    follow_again,
    notes_on,
    read_batches,
    user_error,
)
from bnguard._audit_loader.foreign import one_epoch
from bnguard._audit_loader.numbers import check_setup
from bnguard._audit_loader.plan import EpochPlan, Setup
from bnguard._audit_loader.sharding import Recognised, behaves_as, is_from, recognise
from bnguard._audit_loader.summary import describe, noted, summarise
from bnguard._errors import TargetError, UsageError
from bnguard._facts.loaders import LoaderFact, Runs, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from bnguard._facts.models import Mode

_LAWFUL = (SequentialSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
"""Samplers that yield exactly ``len(sampler)`` indices."""

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


def inspect(loader: DataLoader[Any], request: Inspection) -> Inspected:
    """Return every batch size of one epoch of the loader, or why it is not known.

    No sample is fetched (unless ``asked.counting`` says so), no worker starts, no state moves.
    """
    shared = _recognised(loader, request.setup, request)
    if shared is not None and shared.setup is not None:
        request = request._replace(setup=shared.setup)
    if shared is not None and shared.setup is None:
        result = Inspected(_bare(loader, request, unknown=shared.unknown))
    elif isinstance(loader.dataset, IterableDataset):
        result = _iterable(loader, request)
    elif loader.batch_sampler is None:
        result = _unbatched(loader, request)
    else:
        result = _batched(loader, loader.batch_sampler, request)
    return result._replace(fact=noted(result.fact, *notes_on(loader)))


def _bare(loader: DataLoader[Any], request: Inspection, **more: Any) -> LoaderFact:  # noqa: ANN401 - fields of the fact
    fact = LoaderFact(
        name=request.name,
        mode=request.mode,
        samples=None,
        batch_size=loader.batch_size,
        drop_last=loader.drop_last,
        streams=(),
        replicas=request.setup.replicas,
        micro_batches=request.setup.micro_batches,
    )
    return replace(fact, **more)


def _unbatched(loader: DataLoader[Any], request: Inspection) -> Inspected:
    if isinstance(loader.sampler, BatchSampler):
        result = _batched(loader, loader.sampler, request)
        note = "batch_size=None with a BatchSampler as sampler: the dataset gets each list of indices"
        return result._replace(fact=noted(result.fact, note))
    why = "batch_size=None adds no batch dimension: the size is that of what the dataset returns"
    return Inspected(_bare(loader, request, unknown=why, borders=False))


def _batched(loader: DataLoader[Any], batches: Any, request: Inspection) -> Inspected:  # noqa: ANN401
    batches = one_epoch(batches)
    shard = _recognised(batches, request.setup, request)
    inner, setup = (batches, request.setup) if shard is None else (shard.inner, shard.setup)
    law = law_of(inner)
    if setup is None or law is None or (shard is not None and not _divisible(inner, setup)):
        return _followed(loader, batches, request, shard)
    return _plain(loader, inner.sampler, setup._replace(**law), request)


def _divisible(batches: Any, setup: Setup) -> bool:  # noqa: ANN401 - a batch sampler of a known law
    """Whether a law that divides batches between ranks knows these: torch's own, of samples not divided before."""
    return behaves_as(batches, (BatchSampler,)) and recognise(batches.sampler, setup) is None


def law_of(batch_sampler: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any iterable of lists
    """Return what a batch sampler does with its sampler's indices, as fields of a Setup; None if that is its own.

    Known are torch's BatchSampler and those of ``bnguard.repair``.
    """
    given = batch_sampler
    if behaves_as(given, (BatchSampler,)):
        return {"batch_size": given.batch_size, "drop_last": given.drop_last, "tail": "keep"}
    if any(is_from(given, "bnguard", name) for name in _REPAIRED):
        return {"batch_size": given.size, "drop_last": False, "tail": given.tail, "min_size": given.min_size}
    return None


def _plain(loader: DataLoader[Any], sampler: Any, setup: Setup, request: Inspection) -> Inspected:  # noqa: ANN401
    """Plan batches of a known law over some sampler, such as ``S(len(sampler), batch_size, drop_last)``."""
    shard = _recognised(sampler, setup, request)
    if shard is not None and shard.setup is not None:
        return Inspected(describe(request.name, request.mode, len(shard.inner), shard.setup), shard.setup)
    try:
        if not yields_its_length(sampler) and not behaves_as(sampler, (BatchSampler,)):
            return _of_own_length(loader, sampler, setup, request, shard)
        length = _length(loader, sampler, request)
    except CannotCopyError as error:
        why = f"the {type(sampler).__name__} cannot be copied ({error}), and following it would use it up"
        return Inspected(_bare(loader, request, batch_size=setup.batch_size, drop_last=setup.drop_last, unknown=why))
    if shard is not None:
        return Inspected(_of_rank(shard, describe(request.name, request.mode, length, setup.on_ranks(1))))
    notes = ["the sampler yields lists of indices: each becomes one item of a batch (meant as batch_sampler=?)"]
    fact = describe(request.name, request.mode, length, setup, notes if isinstance(sampler, BatchSampler) else ())
    return Inspected(fact, setup)


def _of_own_length(
    loader: DataLoader[Any],
    sampler: Any,  # noqa: ANN401 - any iterable
    setup: Setup,
    request: Inspection,
    shard: Recognised | None,
) -> Inspected:
    """Plan what a sampler of the user's yields; its length may be another one in every epoch."""
    passes = follow(sampler, loader.dataset, lambda _index: 1, request.progress)
    if not passes[0].ended:
        raise _endless(request.name, "sampler")
    again = follow_again(sampler, loader.dataset, lambda _index: 1, passes[0])
    setup = setup if shard is None else setup.on_ranks(1)
    lengths = [sum(count for _, count in sizes) for sizes in (*(seen.sizes for seen in passes), *again)]
    facts = [describe(request.name, request.mode, length, setup) for length in lengths]
    if len(set(lengths)) == 1:
        return Inspected(facts[0], setup) if shard is None else Inspected(_of_rank(shard, facts[0]))
    # the epoch that breaks is the one to show
    shown = next((fact for fact in facts if fact.first_single), facts[0])
    looked_at = [fact.streams[0].batches if fact.streams else () for fact in facts]
    fact = _varying(shown, looked_at[: len(passes)], looked_at[len(passes) :], sampler)
    return Inspected(fact if shard is None else _of_rank(shard, fact))


def _varying(fact: LoaderFact, epochs: list[Runs], again: list[Runs], sampler: object) -> LoaderFact:
    """Say which of its first epochs is which, or what is drawn at random: the sizes, or their order alone."""
    name = type(sampler).__name__
    if any(_tally(sizes) != _tally(epochs[0]) for sizes in again):
        note = f"the batch sizes of {name} are drawn at random; {len(epochs) + len(again)} epochs were looked at"
        return noted(replace(fact, varies=True), note)
    if any(sizes != epochs[0] for sizes in again):
        note = f"{name} draws the order of its batches at random: every epoch has these, at other steps"
        return noted(replace(fact, ordered=False), note)
    if len({_tally(sizes) for sizes in epochs}) > 1:
        note = f"the batch sizes of {name} vary from epoch to epoch; {len(epochs)} were looked at"
        return noted(replace(fact, epochs=tuple(epochs)), note)
    note = f"sizes as {name} yields them; if it shuffles, another epoch may order them differently"
    return noted(replace(fact, epochs=tuple(epochs) if len(set(epochs)) > 1 else ()), note)


def _of_rank(shard: Recognised, fact: LoaderFact) -> LoaderFact:
    """Return the fact of a single rank as that of the one that was looked at; the others are not known."""
    ranks = (shard.rank, shard.rank)
    single = replace(fact.first_single, rank=shard.rank) if fact.first_single else None
    streams = tuple(replace(s, ranks=ranks) for s in fact.streams)
    return replace(fact, streams=streams, first_single=single, world_size=shard.world_size, unknown=shard.unknown)


def yields_its_length(sampler: object) -> bool:
    """Whether it is law that the sampler yields ``len(sampler)`` items in every epoch."""
    if isinstance(sampler, (list, tuple, range)) or behaves_as(sampler, _LAWFUL):
        return True
    divided = recognise(sampler, Setup(batch_size=1))
    return divided.setup is not None if divided else is_from(sampler, "accelerate", "SeedableRandomSampler")


def _length(loader: DataLoader[Any], sampler: Any, request: Inspection) -> int:  # noqa: ANN401 - any iterable
    """Return how many items a sampler yields: its length where that is law, else by following a copy."""
    if yields_its_length(sampler):
        try:
            return len(sampler)
        except Exception as error:
            raise user_error(f"len() of the {type(sampler).__name__}", error) from error
    if behaves_as(sampler, (BatchSampler,)):
        length = _length(loader, sampler.sampler, request)
        full, rest = divmod(length, int(sampler.batch_size))
        return full if sampler.drop_last or not rest else full + 1
    passes = follow(sampler, loader.dataset, lambda _index: 1, request.progress, passes=1)
    if not passes[0].ended:
        raise _endless(request.name, "sampler")
    return sum(count for _, count in passes[0].sizes)


def _followed(
    loader: DataLoader[Any],
    batches: Any,  # noqa: ANN401 - any iterable of lists
    request: Inspection,
    shard: Recognised | None,
) -> Inspected:
    """Any other batch_sampler: the sizes that a copy of it yields, on one rank of those between which it divides."""
    if request.setup.world_size > 1:
        raise UsageError(
            f"how several ranks share the {type(batches).__name__} of {request.name} is not known",
            hint="leave --world-size out",
        )
    world, rank = (1, 0) if shard is None else (shard.world_size, shard.rank)
    bare = _bare(loader, request, batch_size=None, drop_last=False, world_size=world)
    try:
        passes = follow(batches, loader.dataset, _size, request.progress)
        again = follow_again(batches, loader.dataset, _size, passes[0])
    except CannotCopyError as error:
        why = f"the {type(batches).__name__} cannot be copied ({error}), and following it would use it up"
        return Inspected(replace(bare, unknown=why))
    seen = _worst(passes)
    if not seen.ended and not hasattr(batches, "__len__"):
        raise _endless(request.name, "batch_sampler")
    stream = Stream((rank, rank), seen.sizes)
    fact = summarise(replace(bare, samples=stream.total), EpochPlan((stream,), 0))
    fact = replace(fact, unused=None)
    if not isinstance(batches, (list, tuple)):
        fact = _varying(fact, [each.sizes for each in passes], again, batches)
    if not seen.ended:
        why = f"only the first {stream.steps:,} batches of a longer epoch were looked at"
        fact = replace(fact, unknown=why, samples=None, steps=None)
    elif shard is not None and world > 1:
        fact = replace(fact, unknown=shard.unknown or f"only rank {rank} of {world} was looked at")
    return Inspected(fact)


def _worst(passes: list[Seen]) -> Seen:
    """Return the first epoch that holds a batch of one, else the first."""
    return next((seen for seen in passes if any(size == 1 for size, _ in seen.sizes)), passes[0])


def _tally(sizes: Runs) -> frozenset[tuple[int, int]]:
    """Return how many batches of each size there are, whatever their order."""
    result: Counter[int] = Counter()
    for size, count in sizes:
        result[size] += count
    return frozenset(result.items())


def _size(batch: Any) -> int:  # noqa: ANN401 - a list, or any iterable of indices
    return len(batch) if hasattr(batch, "__len__") else sum(1 for _ in batch)


def _endless(name: str, what: str) -> TargetError:
    return TargetError(
        f"the {what} of {name} did not end within {MOST_BATCHES:,} items, so there is no epoch to audit",
        hint="audit one round of it, or describe it by numbers: --n 9 --bs 8",
    )


def _iterable(loader: DataLoader[Any], request: Inspection) -> Inspected:
    """Plan an IterableDataset: each worker batches its own stream, and nobody need know how long it is."""
    setup, dataset = _stream(loader, request)
    if setup is None:
        return Inspected(_made_by_the_dataset(loader, request))
    shard = _recognised(dataset, setup, request)
    if shard is not None:
        if shard.setup is None:
            return Inspected(_bare(loader, request, unknown=shard.unknown))
        setup, dataset = shard.setup, shard.inner
    check_setup(setup)
    length, source = _iterable_length(dataset, request)
    if length is None:
        notes = ("drop_last=True: every batch that comes is full",) if loader.drop_last else ()
        bare = _bare(loader, request, workers=loader.num_workers, unknown=source, notes=notes)
        return Inspected(bare)
    fact = describe(request.name, request.mode, length, setup, (source,))
    return Inspected(fact, setup if fact.unknown is None else None)


def _made_by_the_dataset(loader: DataLoader[Any], request: Inspection) -> LoaderFact:
    """Describe an IterableDataset that yields whole batches; only reading it tells their sizes."""
    bare = _bare(loader, request, borders=False)
    why = "batch_size=None: the IterableDataset makes the batches itself"
    if not request.counting or loader.num_workers > 1:
        how = "" if loader.num_workers > 1 else " (--count reads it once to find out)"
        return replace(bare, unknown=f"{why}, and their sizes are not known{how}")
    try:
        seen = read_batches(loader.dataset, request.progress)
    except CannotCopyError as error:
        return replace(bare, unknown=f"{why}, and it cannot be copied ({error}): counting would use it up")
    if not seen.ended or any(not size for size, _ in seen.sizes):
        return replace(bare, unknown=f"{why}, and {'what it yields has no size' if seen.ended else 'it did not end'}")
    stream = Stream((0, 0), seen.sizes)
    fact = summarise(replace(bare, samples=stream.total), EpochPlan((stream,), 0))
    return noted(fact, "the batches were counted by reading the dataset once, in one process")


def _stream(loader: DataLoader[Any], request: Inspection) -> tuple[Setup | None, Any]:
    """Return how each worker batches, None if the dataset does that itself, and the dataset that yields samples."""
    dataset: Any = loader.dataset
    setup = request.setup._replace(iterable=True, workers=loader.num_workers)
    if is_from(dataset, "bnguard", "MergedStream"):
        setup = setup._replace(batch_size=dataset.size, drop_last=False, tail="merge", min_size=dataset.min_size)
        return setup, dataset.dataset
    if loader.batch_size is None:
        return None, dataset
    return setup._replace(batch_size=loader.batch_size, drop_last=loader.drop_last), dataset


def _iterable_length(dataset: Any, request: Inspection) -> tuple[int | None, str]:  # noqa: ANN401
    """Return the number of samples, if known, and how it is known or why not."""
    try:
        return len(dataset), "the number of samples is what the dataset's __len__ says"
    except Exception:  # noqa: BLE001 - a missing __len__ raises TypeError, other people's raise anything
        pass
    if not request.counting:
        return None, "the IterableDataset has no length (--count reads it once to find out)"
    try:
        count, ended = count_items(dataset, request.progress)
    except CannotCopyError as error:
        return None, f"the IterableDataset cannot be copied ({error}), and counting it would use it up"
    if not ended:
        return None, f"the IterableDataset did not end within {count:,} samples"
    return count, "the samples were counted by reading the dataset once, in one process"


def _recognised(part: object, setup: Setup, request: Inspection) -> Recognised | None:
    """Ask which law is at work in a part of the loader.

    Raises:
        UsageError: if it has other ranks than were asked for.

    """
    result = recognise(part, setup)
    if result is not None and request.setup.world_size not in (1, result.world_size):
        raise UsageError(
            f"--world-size {request.setup.world_size} contradicts the {type(part).__name__} of {request.name} "
            f"({result.world_size} ranks)",
            hint="leave --world-size out",
        )
    return result
