"""How one number of samples falls apart: into batches, replicas and micro-batches, run-length encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnguard.loader_facts import Runs


def batches(samples: int, batch_size: int, drop_last: bool, tail: str = "keep", min_size: int = 2) -> Runs:
    """Return the sizes that a BatchSampler gives for this many samples.

    >>> batches(9, 8, False)
    ((8, 1), (1, 1))

    Args:
        samples: that the sampler yields.
        batch_size: of the BatchSampler.
        drop_last: of the BatchSampler.
        tail: what becomes of a batch under ``min_size``: ``keep``, ``merge`` (it joins the batch before it) or
            ``balance`` (all batches differ by one sample at most). These are the laws of ``bnguard.repair``.
        min_size: matters to ``merge`` and ``balance`` alone.

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
