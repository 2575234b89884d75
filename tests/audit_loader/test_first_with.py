"""The first batch of a size, found in a plan without writing it out, against the plan written out."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

import bnguard
from bnguard._audit_loader.plan import chunks, even_pieces
from bnguard._audit_loader.summary import first_with, forward_sizes
from bnguard._facts.loaders import LoaderFact


def forwards(batch: int, micro: int, replicas: int) -> Iterator[tuple[int, int | None, int | None]]:
    pieces = [p for p, many in even_pieces(batch, micro) for _ in range(many)] if micro > 1 else [batch]
    for i, piece in enumerate(pieces):
        for j, size in enumerate(chunks(piece, replicas)):
            yield size, i if micro > 1 else None, j if replicas > 1 else None


def written_out(fact: LoaderFact) -> Iterator[tuple[int, int, int, int | None, int | None]]:
    """Yield step, rank, size, micro-batch and replica of every forward."""
    ranks = range(max((s.ranks[1] for s in fact.streams), default=-1) + 1)
    for rank in ranks:
        mine = [s for s in fact.streams if s.ranks[0] <= rank <= s.ranks[1]]
        workers = [[size for size, count in s.batches for _ in range(count)] for s in mine for _ in range(s.width)]
        turns = [w[i] for i in range(max(map(len, workers), default=0)) for w in workers if i < len(w)]
        for step, batch in enumerate(turns, 1):
            for size, micro, replica in forwards(batch, fact.micro_batches, fact.replicas):
                yield step, rank, size, micro, replica


@settings(max_examples=300, deadline=None)
@given(
    n=st.integers(1, 80), batch_size=st.integers(1, 12), drop_last=st.booleans(), world=st.integers(1, 4),
    uneven=st.booleans(), workers=st.integers(0, 4), replicas=st.integers(1, 4), micro=st.integers(1, 4),
    wanted=st.sets(st.integers(1, 12), min_size=1, max_size=3), shard=st.sampled_from(["ceil", "stride", "none"]),
)  # fmt: skip
def test_against_the_plan_written_out(n, batch_size, drop_last, world, uneven, workers, replicas, micro, wanted, shard):
    options = {"n": n, "batch_size": batch_size, "drop_last": drop_last, "replicas": replicas, "micro_batches": micro}
    if workers:
        options |= {"iterable": True, "workers": workers, "shard": shard}
    elif world > 1:
        options |= {"world_size": world, "sharding": "accelerate", "uneven": uneven}
    (fact,) = bnguard.audit_loader(**options).loaders
    every = list(written_out(fact))
    assert {size for s in fact.streams for size in forward_sizes(s)} == {size for _, _, size, _, _ in every}
    place = first_with(wanted, fact.streams, replicas=replicas, micro_batches=micro)
    first = min(
        ((step, rank) for step, rank, size, _, _ in every if size in wanted),
        default=None,
    )
    assert (place and (place.step, place.rank)) == first
    if place:
        inside = [row[2:] for row in every if row[:2] == first and row[2] in wanted]
        assert (place.piece, place.micro_batch, place.replica) == inside[0]
