"""From the streams of a plan to the fact that rules judge: replicas, smallest batch, first single sample."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bnguard._audit_loader.plan import EpochPlan, Setup, chunks, even_pieces
from bnguard._audit_loader.sharding import law_for, make_plan
from bnguard._audit_loader.sharding.workers import WORKER_SHARDINGS
from bnguard._facts.loaders import BatchPlace, LoaderFact, Runs, Stream

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from bnguard._facts.models import Mode


def describe(name: str, mode: Mode, samples: int, setup: Setup, notes: Iterable[str] = ()) -> LoaderFact:
    """Return the fact of one loader that is given by numbers.

    An iterable dataset whose sharding between workers is not known gives an ``unknown`` fact that lists
    what each sharding would mean; it never counts as safe.
    """
    bare = LoaderFact(
        name=name,
        mode=mode,
        samples=samples,
        batch_size=setup.batch_size,
        drop_last=setup.drop_last,
        streams=(),
        notes=tuple(notes),
        world_size=setup.world_size,
        replicas=setup.replicas,
        workers=setup.workers if setup.iterable else 0,
        micro_batches=setup.micro_batches,
        divided=law_for(setup).divides_batches,
    )
    if setup.iterable and setup.workers > 1 and setup.shard is None:
        return _unknown_shard(bare, samples, setup)
    if setup.iterable and setup.workers == 1 and setup.shard is None:
        setup = setup._replace(shard="none")  # one worker yields everything under every sharding
    plan = make_plan(samples, setup)
    return summarise(bare, plan)


def summarise(bare: LoaderFact, plan: EpochPlan) -> LoaderFact:
    """Return the fact with the plan's streams and everything that follows from them."""
    streams = tuple(_within(s, bare.micro_batches, bare.replicas) for s in plan.streams)
    return replace(
        bare,
        streams=streams,
        smallest=min((min(forward_sizes(s)) for s in streams if s.steps), default=None),
        steps=max((_rank_steps(group) for group in _by_rank(streams)), default=0),
        unused=plan.unused,
        first_single=first_with({1}, streams, bare.micro_batches, bare.replicas),
    )


def _unknown_shard(bare: LoaderFact, samples: int, setup: Setup) -> LoaderFact:
    outcomes = []
    for way in WORKER_SHARDINGS.values():
        single = summarise(bare, make_plan(samples, setup._replace(shard=way.name))).first_single
        outcome = f"a batch of one (worker {single.worker})" if single else "no batch of one"
        outcomes.append(f"{way.condition}: {outcome}")
    why = f"how the dataset divides its samples between {setup.workers} workers is not known (--shard says it)"
    return noted(replace(bare, unknown=why), *outcomes)


def noted(fact: LoaderFact, *notes: str) -> LoaderFact:
    """Return the fact with more notes."""
    return replace(fact, notes=(*fact.notes, *notes))


def _by_rank(streams: Iterable[Stream]) -> list[list[Stream]]:
    """Group streams by their range of ranks; the workers of a rank come together."""
    groups: dict[tuple[int, int], list[Stream]] = {}
    for stream in streams:
        groups.setdefault(stream.ranks, []).append(stream)
    return list(groups.values())


def _rank_steps(group: list[Stream]) -> int:
    return sum(s.steps * s.width for s in group)


def _within(stream: Stream, micro_batches: int, replicas: int) -> Stream:
    """Add what each step's batch becomes inside the step: micro-batches, then replicas of each."""
    micro = None
    inputs: Iterable[tuple[int, int]] = stream.batches
    if micro_batches > 1:
        micro = tuple((even_pieces(size, micro_batches), count) for size, count in stream.batches)
        inputs = [(piece, many * count) for pieces, count in micro for piece, many in pieces]
    scattered = tuple((chunks(size, replicas), count) for size, count in inputs) if replicas > 1 else None
    return replace(stream, micro_batches=micro, replica_batches=scattered)


def forward_sizes(stream: Stream) -> set[int]:
    """Return how many samples the forwards of this stream see: whole batches, or their micro-batches and replicas."""
    if stream.replica_batches is not None:
        return {size for sizes, _ in stream.replica_batches for size in sizes}
    if stream.micro_batches is not None:
        return {piece for pieces, _ in stream.micro_batches for piece, _ in pieces}
    return {size for size, _ in stream.batches}


class _Piece(NamedTuple):
    """The part of a batch that one forward sees; its indices count from 0, None where nothing is divided."""

    size: int
    micro_batch: int | None
    replica: int | None


def _piece_of(batch: int, wanted: Collection[int], micro_batches: int, replicas: int) -> _Piece | None:
    """Return the first micro-batch and replica of a batch that get one of the wanted sizes, or None if none does."""
    pieces: Runs = even_pieces(batch, micro_batches) if micro_batches > 1 else ((batch, 1),)
    before = 0
    for piece, count in pieces:
        for replica, size in enumerate(chunks(piece, replicas)):
            if size in wanted:
                return _Piece(size, before if micro_batches > 1 else None, replica if replicas > 1 else None)
        before += count
    return None


def first_with(
    wanted: Collection[int], streams: Iterable[Stream], micro_batches: int, replicas: int
) -> BatchPlace | None:
    """Return where a forward first sees one of these numbers of samples: the lowest step, then the lowest rank."""
    found = [place for group in _by_rank(streams) for place in _on_rank(group, wanted, micro_batches, replicas)]
    return min(found, key=lambda place: (place.step, place.rank), default=None)


def _on_rank(group: list[Stream], wanted: Collection[int], micro_batches: int, replicas: int) -> Iterator[BatchPlace]:
    for stream in group:
        index = 0
        for size, count in stream.batches:
            piece = _piece_of(size, wanted, micro_batches, replicas)
            if piece:
                yield BatchPlace(
                    rank=stream.ranks[0],
                    step=_arrival(stream, index, group),
                    steps=_rank_steps(group),
                    replica=piece.replica,
                    worker=stream.workers[0] if stream.workers else None,
                    micro_batch=piece.micro_batch,
                    size=size,
                    piece=piece.size,
                )
                break
            index += count


def _arrival(stream: Stream, index: int, group: list[Stream]) -> int:
    """Return the step (from 1) at which the loader hands out batch ``index`` of the stream's first worker.

    The loader asks its workers in turn and passes over those that have ended, so what comes earlier are the
    batches with a lower index, and those of the same index from lower workers.
    """
    if stream.workers is None:
        return index + 1
    earlier = sum(min(other.steps, index) * other.width for other in group)
    lower = sum(
        min(other.width, stream.workers[0] - other.workers[0])
        for other in group
        if other.workers and other.steps > index and other.workers[0] < stream.workers[0]
    )
    return earlier + lower + 1
