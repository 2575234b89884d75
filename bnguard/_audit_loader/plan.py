"""What an epoch is planned from, the plan that comes of it, and how one number of samples falls apart."""

from __future__ import annotations

from typing import NamedTuple

from bnguard._facts.loaders import Runs, Stream


class Setup(NamedTuple):
    """How samples become batches; the defaults are one process with a plain DataLoader.

    The options are those of ``bnguard.audit_loader``, and two that suggestions are checked with.

    Attributes:
        tail: what happens to a batch under ``min_size``: ``keep``, ``merge`` into the batch before it, or
            ``balance`` all batches. The last two are what ``bnguard.repair`` does and suggestions are checked with.
        min_size: of those two.

    """

    batch_size: int
    drop_last: bool = False
    world_size: int = 1
    sharding: str = "distributed-sampler"
    sampler_drop_last: bool = False
    uneven: bool = False
    replicas: int = 1
    iterable: bool = False
    workers: int = 0
    shard: str | None = None
    micro_batches: int = 1
    tail: str = "keep"
    min_size: int = 2

    def batches(self, samples: int) -> Runs:
        """Return the batches that one sampler of this many samples is cut into."""
        return batches(samples, self.batch_size, self.drop_last, self.tail, self.min_size)

    def on_ranks(self, world_size: int) -> Setup:
        """Return this setup for another number of ranks; with one, what is to make ranks equal means nothing."""
        if world_size > 1:
            return self._replace(world_size=world_size)
        return self._replace(world_size=1, uneven=False, sampler_drop_last=False)


class EpochPlan(NamedTuple):
    """The streams of one epoch, and how many samples it never shows."""

    streams: tuple[Stream, ...]
    unused: int


def batches(samples: int, batch_size: int, drop_last: bool, tail: str = "keep", min_size: int = 2) -> Runs:
    """Return the sizes that a BatchSampler gives for this many samples.

    >>> batches(9, 8, False)
    ((8, 1), (1, 1))

    The arguments are those of ``Setup``; ``min_size`` matters to ``merge`` and ``balance`` alone.
    """
    full, rest = divmod(samples, batch_size)
    if drop_last or not rest:
        return ((batch_size, full),) if full else ()
    if tail == "merge" and rest < min_size and full:
        return runs((batch_size, full - 1), (batch_size + rest, 1))
    if tail == "balance":
        return even_pieces(samples, max(1, min(full + 1, samples // min_size)))
    return runs((batch_size, full), (rest, 1))


def runs(*pairs: tuple[int, int]) -> Runs:
    """Return run-length pairs without the empty ones, neighbours of one size joined."""
    joined: list[tuple[int, int]] = []
    for size, count in pairs:
        if count <= 0:
            continue
        if joined and joined[-1][0] == size:
            joined[-1] = (size, joined[-1][1] + count)
        else:
            joined.append((size, count))
    return tuple(joined)


def even_pieces(size: int, pieces: int) -> Runs:
    """Return the law of ``tensor_split`` and pipelines: the first ``size % pieces`` get one sample more."""
    each, more = divmod(size, pieces)
    return tuple(run for run in ((each + 1, more), (each, pieces - more)) if run[0] and run[1])


def chunks(size: int, pieces: int) -> tuple[int, ...]:
    """Return the law of ``torch.chunk``, by which DataParallel scatters; there may be fewer pieces.

    >>> chunks(9, 8)
    (2, 2, 2, 2, 1)
    """
    if not size:
        return (0,)
    each = -(-size // pieces)
    count = -(-size // each)
    return (each,) * (count - 1) + (size - (count - 1) * each,)
