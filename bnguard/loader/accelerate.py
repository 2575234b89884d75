"""How Hugging Face Accelerate divides batches between ranks (``accelerate/data_loader.py``), in closed form.

``whole_batches`` and ``split_batches`` follow ``BatchSamplerShard``, ``dispatched`` follows
``DataLoaderDispatcher``. With one process Accelerate leaves a loader as it is; callers do not come here then.
"""

from __future__ import annotations

from bnguard.loader.sizes import runs
from bnguard.loader_facts import Runs, Stream


def whole_batches(samples: int, batch_size: int, drop_last: bool, world: int, uneven: bool) -> tuple[Stream, ...]:
    """Rank r gets the batches r, r + W, …; by default the last round is filled up with repeated samples."""
    everyone = (0, world - 1)
    if drop_last:
        return (Stream(everyone, runs((batch_size, samples // batch_size // world))),)
    count = -(-samples // batch_size)
    if not uneven:
        return (Stream(everyone, runs((batch_size, -(-count // world)))),)
    rounds, more = divmod(count, world)
    rest = samples % batch_size
    groups: list[tuple[int, int, Runs]] = []
    for low, high, steps in ((0, more - 1, rounds + 1), (more, world - 1, rounds)):
        full = runs((batch_size, steps))
        if rest and low <= (count - 1) % world == high:  # the tail goes to the last rank of its round
            groups += [(low, high - 1, full), (high, high, runs((batch_size, steps - 1), (rest, 1)))]
        else:
            groups.append((low, high, full))
    return tuple(Stream((low, high), made) for low, high, made in groups if low <= high)


def split_batches(samples: int, piece: int, drop_last: bool, world: int, uneven: bool) -> tuple[Stream, ...]:
    """Every batch of ``piece * world`` is cut into one piece a rank."""
    full, rest = divmod(samples, piece * world)
    if drop_last or not rest:
        return (Stream((0, world - 1), runs((piece, full))),)
    if not uneven:
        return (Stream((0, world - 1), runs((piece, full + 1))),)
    filled, partial = divmod(rest, piece)
    groups = (
        (0, filled - 1, runs((piece, full + 1))),
        (filled, filled if partial else filled - 1, runs((piece, full), (partial, 1))),
        (filled + bool(partial), world - 1, runs((piece, full))),
    )
    return tuple(Stream((low, high), made) for low, high, made in groups if low <= high)


def dispatched(samples: int, batch_size: int, drop_last: bool, world: int) -> tuple[Stream, ...]:
    """Rank 0 reads one batch a rank, joins them and deals them out; the last round is shared as it is."""
    if drop_last:
        return (Stream((0, world - 1), runs((batch_size, samples // batch_size // world))),)
    full, rest = divmod(samples, batch_size * world)
    share = -(-rest // world)
    if rest and not full and 2 * rest < world:
        # Fewer samples than ranks are doubled once; the ranks beyond that get an empty batch.
        return (Stream((0, 2 * rest - 1), ((1, 1),)), Stream((2 * rest, world - 1), ((0, 1),)))
    return (Stream((0, world - 1), runs((batch_size, full), (share, 1 if rest else 0))),)
