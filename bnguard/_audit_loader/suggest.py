"""Ways out for a loader that breaks, cheapest first; each is planned again, and offered if nothing breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnguard import _remedies as remedies
from bnguard._audit_loader.sharding import law_for
from bnguard._audit_loader.summary import describe
from bnguard._errors import UsageError
from bnguard._facts.loaders import LoaderFact, Suggestion, runs_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bnguard._audit_loader.plan import Setup
    from bnguard._remedies import Advice, Remedy

_NEAREST = 256
"""How far from the present value a batch size or world size is looked for."""


def suggest(fact: LoaderFact, setup: Setup, variable: str = "loader") -> Iterator[Suggestion]:
    """Yield what removes every single sample of a training loader, for all ranks, workers and replicas.

    The fact must be what the setup was planned for; ``variable`` is what the user's code calls the loader.
    """
    if fact.mode != "train" or fact.unknown or not fact.samples or not (fact.first_single or fact.steps == 0):
        return
    if fact.borders:
        yield from _same_batches(fact, setup, variable)
    yield from _batch_sizes(fact, setup)
    yield from _drop_last(fact, setup)
    yield from _fewer_pieces(fact, setup)
    yield from _world_sizes(fact, setup)
    yield from _sync_batchnorm(fact, setup)


def suggest_for_range(facts: Sequence[LoaderFact], setup: Setup) -> Iterator[Suggestion]:
    """Yield the ways out that need no knowledge of the dataset's size, where they help at every size."""
    broken = [fact for fact in facts if fact.mode == "train" and fact.first_single]
    for changed, remedy in _other_borders(setup) if broken else ():
        if all(_clean(fact, changed) for fact in broken):
            yield _suggestion(remedy.for_case(f"{remedy.does}: works at every size that breaks"), "all sizes")


def _suggestion(advice: Advice, loader: str, **numbers: Any) -> Suggestion:  # noqa: ANN401 - fields of the suggestion
    return Suggestion(advice.kind, advice.clause, loader, call=advice.call, **numbers)


def _clean(fact: LoaderFact, setup: Setup) -> LoaderFact | None:
    """Plan the loader anew; return the fact if no rank, worker, replica or micro-batch gets one sample."""
    try:
        tried = describe(fact.name, fact.mode, fact.samples or 0, setup)
    except UsageError:  # Accelerate refuses batch sizes that the ranks do not divide
        return None
    ranks_idle = any(not s.steps for s in tried.streams if s.workers is None)
    return None if tried.first_single or not tried.steps or ranks_idle else tried


def _other_borders(setup: Setup) -> Iterator[tuple[Setup, Remedy]]:
    """Yield what ``bnguard.repair`` can do to batches that the loader itself makes, and what becomes of them."""
    if not law_for(setup).loader_batches or setup.drop_last:
        return
    yield setup._replace(tail="merge"), remedies.MERGE_TAIL
    if not setup.iterable:  # nobody knows beforehand how many samples an iterable dataset has
        yield setup._replace(tail="balance"), remedies.BALANCE


def _same_batches(fact: LoaderFact, setup: Setup, variable: str) -> Iterator[Suggestion]:
    offered = None
    for changed, remedy in _other_borders(setup):
        tried = _clean(fact, changed)
        if tried and _layout(tried) != offered:
            offered = _layout(tried)
            yield _suggestion(remedy.for_case(f"{remedy.does} ({offered})", name=variable), fact.name)


def _layout(fact: LoaderFact) -> str:
    """Return the batches as people write them: ``7 + 2``; those of the first rank or worker."""
    stream = fact.streams[0]
    text = runs_text(stream.batches)
    if fact.world_size > 1 and stream.ranks[0] == stream.ranks[1]:
        return f"{text} on rank {stream.ranks[0]}"
    return f"{text} on each rank" if fact.world_size > 1 else text


def _batch_sizes(fact: LoaderFact, setup: Setup) -> Iterator[Suggestion]:
    size = setup.batch_size
    below = range(size - 1, max(1, size - _NEAREST), -1)
    for sizes in (below, range(size + 1, size + _NEAREST)):
        for candidate in sizes:
            tried = _clean(fact, setup._replace(batch_size=candidate))
            if tried:
                lost = _lost(fact, tried)
                does = f"use batch size {candidate:,} ({_layout(tried)})"
                advice = remedies.BATCH_SIZE.for_case(does, price=_price(lost))
                yield _suggestion(advice, fact.name, batch_size=candidate, samples_lost=lost)
                break


def _price(lost: int) -> str:
    return f"{lost:,} sample{'s' * (lost != 1)} lost each epoch" if lost else ""


def _lost(fact: LoaderFact, tried: LoaderFact) -> int:
    return max(0, (tried.unused or 0) - (fact.unused or 0))


def _drop_last(fact: LoaderFact, setup: Setup) -> Iterator[Suggestion]:
    tried = None if setup.drop_last else _clean(fact, setup._replace(drop_last=True))
    if tried is None or fact.samples is None:
        return
    lost = _lost(fact, tried)
    share = f"{lost / fact.samples:.1%}" if lost * 1000 >= fact.samples else "under 0.1%"
    price = f"which loses {lost:,} of {fact.samples:,} samples each epoch ({share})"
    yield _suggestion(remedies.DROP_LAST.for_case(price=price), fact.name, samples_lost=lost)


def _fewer_pieces(fact: LoaderFact, setup: Setup) -> Iterator[Suggestion]:
    yield from _fewer_replicas(fact, setup)
    if not setup.iterable or not setup.workers:
        return
    for workers in _nearest(setup.workers, least=1):
        if _clean(fact, setup._replace(workers=workers)):
            does = f"use {workers} worker{'s' * (workers != 1)} instead of {setup.workers}"
            yield _suggestion(remedies.FEWER_WORKERS.for_case(does), fact.name)
            break


def _fewer_replicas(fact: LoaderFact, setup: Setup) -> Iterator[Suggestion]:
    """Fewer replicas at the same batch size; where that does not help, with the nearest batch size that does."""
    for sizes in ((setup.batch_size,), tuple(_nearest(setup.batch_size, least=2))):
        for replicas in range(setup.replicas - 1, 0, -1):
            for size in sizes:
                tried = _clean(fact, setup._replace(replicas=replicas, batch_size=size))
                if tried is None or _lost(fact, tried):
                    continue
                what = f"use {replicas} replicas" if replicas > 1 else "use one device, without DataParallel"
                changed = "" if size == setup.batch_size else f", and batch size {size:,} ({_layout(tried)})"
                advice = remedies.FEWER_REPLICAS.for_case(f"{what} instead of {setup.replicas}{changed}")
                yield _suggestion(advice, fact.name, batch_size=size if changed else None)
                return


def _nearest(value: int, least: int) -> Iterable[int]:
    """Yield neighbours of a value by distance, the lower one first."""
    for distance in range(1, min(max(value, 8), _NEAREST)):
        if value - distance >= least:
            yield value - distance
        yield value + distance


def _world_sizes(fact: LoaderFact, setup: Setup) -> Iterator[Suggestion]:
    if setup.world_size == 1:
        return
    for world in _nearest(setup.world_size, least=1):
        tried = _clean(fact, setup.on_ranks(world))
        if tried:
            ranks = f"{world:,} ranks" if world > 1 else "one rank"
            does = f"train on {ranks} instead of {setup.world_size:,} ({_layout(tried)})"
            yield _suggestion(remedies.WORLD_SIZE.for_case(does), fact.name, world_size=world)
            break


def _sync_batchnorm(fact: LoaderFact, setup: Setup) -> Iterator[Suggestion]:
    """Offer SyncBatchNorm where every rank has a batch at every step, so that its collectives meet."""
    steps = {s.steps for s in fact.streams}
    if setup.world_size == 1 or setup.replicas > 1 or setup.iterable or len(steps) != 1 or steps == {0}:
        return
    if any(size == 0 for s in fact.streams for size, _ in s.batches):
        return
    yield _suggestion(remedies.SYNC_BATCHNORM.for_case(), fact.name)
