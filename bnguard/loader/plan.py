"""The batch sizes of one epoch in closed form: samples, then ranks or workers, then batches.

Everything is run-length encoded and nothing is enumerated, so 10**15 samples on 4,096 ranks cost as much as
10 samples on one. The laws are those of torch (``utils/data/``: ``sampler.py``, ``distributed.py``,
``dataloader.py``) and of Accelerate (``data_loader.py``); the tests compare them with the real objects.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from bnguard.errors import UsageError
from bnguard.loader import accelerate
from bnguard.loader.sizes import batches, runs
from bnguard.loader_facts import Runs, Stream

SHARDINGS = ("distributed-sampler", "accelerate", "accelerate-split", "accelerate-dispatch")
WORKER_SHARDS = ("ceil", "stride", "none")


class Setup(NamedTuple):
    """How samples become batches; the defaults are one process with a plain DataLoader.

    Attributes:
        batch_size: of the DataLoader.
        drop_last: of the DataLoader.
        world_size: ranks.
        sharding: who divides the samples between the ranks, one of ``SHARDINGS``.
        sampler_drop_last: of the DistributedSampler; independent of the loader's.
        uneven: nothing is repeated to make ranks equal (Accelerate's ``even_batches=False``, Lightning's
            sampler for ``predict``).
        replicas: of ``nn.DataParallel``.
        iterable: the dataset is an IterableDataset.
        workers: of the DataLoader; they matter to an IterableDataset alone.
        shard: how an IterableDataset divides its samples between the workers; None if not known.
        micro_batches: how many pieces a pipeline cuts each batch into.
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

    @property
    def divided(self) -> bool:
        """Whether one batch of the loader is divided between the ranks."""
        split = self.sharding == "accelerate-split"
        return self.world_size > 1 and (split or self.sharding == "accelerate-dispatch")


class Plan(NamedTuple):
    """The streams of one epoch, and how many samples it never shows."""

    streams: tuple[Stream, ...]
    unused: int


def make_plan(samples: int, setup: Setup) -> Plan:
    """Return every batch size of one epoch.

    Args:
        samples: in this split, or drawn by its sampler; 0 is allowed.
        setup: see there. ``shard`` must be known where an iterable dataset has workers.

    Raises:
        UsageError: if the library that divides the samples would refuse.

    """
    if setup.iterable:
        return _iterable(samples, setup)
    if setup.world_size == 1:
        return _one_rank(samples, setup)
    if setup.sharding == "distributed-sampler":
        return _distributed(samples, setup)
    return _accelerate(samples, setup)


def _one_rank(samples: int, setup: Setup) -> Plan:
    stream = Stream((0, 0), setup.batches(samples))
    return Plan((stream,), samples - stream.total)


def samples_per_rank(samples: int, world_size: int, drop_last: bool) -> int:
    """Return what DistributedSampler gives each rank, in its own double-precision arithmetic."""
    if drop_last and samples % world_size:
        return max(0, math.ceil((samples - world_size) / world_size))
    return math.ceil(samples / world_size)


def _distributed(samples: int, setup: Setup) -> Plan:
    world = setup.world_size
    if setup.uneven:  # rank r takes r, r + W, r + 2W … and nothing is repeated
        each, more = divmod(samples, world)
        groups = ((0, more - 1, each + 1), (more, world - 1, each))
        streams = tuple(Stream((low, high), setup.batches(m)) for low, high, m in groups if low <= high)
        shown = sum(s.total * (s.ranks[1] - s.ranks[0] + 1) for s in streams)
        return Plan(_joined(streams), samples - shown)
    each = samples_per_rank(samples, world, setup.sampler_drop_last)
    stream = Stream((0, world - 1), setup.batches(each))
    # Ranks interleave and the repeated samples come last, so what is shown is a head of the shuffled order.
    return Plan((stream,), max(0, samples - stream.total * world))


def _accelerate(samples: int, setup: Setup) -> Plan:
    world, size = setup.world_size, setup.batch_size
    if setup.sharding == "accelerate-dispatch":
        streams = accelerate.dispatched(samples, size, setup.drop_last, world)
    elif setup.sharding == "accelerate-split":
        piece = piece_size(size, world)
        streams = accelerate.split_batches(samples, piece, setup.drop_last, world, setup.uneven)
    else:
        streams = accelerate.whole_batches(samples, size, setup.drop_last, world, setup.uneven)
    shown = sum(s.total * (s.ranks[1] - s.ranks[0] + 1) for s in streams)
    return Plan(_joined(streams), max(0, samples - shown))


def piece_size(batch_size: int, world_size: int) -> int:
    """Return what one rank gets of a full batch under Accelerate's ``split_batches``."""
    if batch_size % world_size:
        raise UsageError(
            f"Accelerate refuses to split a batch of {batch_size} between {world_size} ranks",
            hint=f"{-(-batch_size // world_size) * world_size} is one that {world_size} divides",
        )
    return batch_size // world_size


def _iterable(samples: int, setup: Setup) -> Plan:
    """Each worker batches a stream of its own; without sharding, every rank sees every sample."""
    world, last = setup.world_size, setup.world_size - 1
    if world > 1 and setup.sharding == "accelerate-dispatch":
        return _accelerate(samples, setup)
    groups = worker_groups(samples, setup.workers, setup.shard) if setup.workers else ((0, 0, samples),)
    streams: list[Stream] = []
    shown = 0
    for low, high, length in groups:
        made, kept = _iterable_runs(length, setup)
        workers = (low, high) if setup.workers else None
        streams.append(Stream((0, last), made, workers))
        shown = max(shown, kept) if setup.shard == "none" else shown + kept * (high - low + 1)
    return Plan(_joined(tuple(streams)), max(0, samples - shown))


def _iterable_runs(length: int, setup: Setup) -> tuple[Runs, int]:
    """Return the batches of one worker's stream, and how many of its samples they show."""
    world = setup.world_size
    if world == 1 or setup.sharding == "distributed-sampler":
        made = setup.batches(length)
        return made, sum(size * count for size, count in made)
    split = setup.sharding == "accelerate-split"
    piece = piece_size(setup.batch_size, world) if split else setup.batch_size
    rounds = length // (piece * world) if setup.drop_last else -(-length // (piece * world))
    return runs((piece, rounds)), min(length, rounds * piece * world)


def worker_groups(samples: int, workers: int, shard: str | None) -> tuple[tuple[int, int, int], ...]:
    """Return ``(first worker, last worker, samples each)`` for an IterableDataset under one sharding.

    Args:
        samples: of the whole dataset.
        workers: 1 or more.
        shard: ``ceil`` (contiguous shares, as the PyTorch docs write it), ``stride``
            (``islice(it, worker_id, None, num_workers)``) or ``none`` (every worker yields all).

    """
    groups: tuple[tuple[int, int, int], ...]
    if shard == "none":
        return ((0, workers - 1, samples),)
    if shard == "stride":
        each, more = divmod(samples, workers)
        groups = ((0, more - 1, each + 1), (more, workers - 1, each))
    elif shard == "ceil":
        each = math.ceil(samples / workers)  # in double precision, as the docs' `float(num_workers)` is
        full = min(workers, samples // each) if each else workers
        partial = min(full + 1, workers) if samples - full * each else full
        groups = ((0, full - 1, each), (full, partial - 1, samples - full * each), (partial, workers - 1, 0))
    else:
        raise UsageError(f"the sharding {shard!r} between workers is not known", hint="one of ceil, stride, none")
    return tuple(group for group in groups if group[0] <= group[1])


def _joined(streams: tuple[Stream, ...]) -> tuple[Stream, ...]:
    """Join neighbours with one plan, so that a stream is as wide as it can be."""
    joined: list[Stream] = []
    for stream in streams:
        before = joined[-1] if joined else None
        if before is None or before.batches != stream.batches:
            joined.append(stream)
        elif stream.workers and before.workers and before.ranks == stream.ranks:
            joined[-1] = Stream(before.ranks, before.batches, (before.workers[0], stream.workers[1]))
        elif not stream.workers:
            joined[-1] = Stream((before.ranks[0], stream.ranks[1]), before.batches)
        else:
            joined.append(stream)
    return tuple(joined)
