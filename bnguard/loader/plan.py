"""What an epoch is planned from, and the plan that comes of it."""

from __future__ import annotations

from typing import NamedTuple

from bnguard.loader.sizes import batches
from bnguard.loader_facts import Runs, Stream


class Setup(NamedTuple):
    """How samples become batches; the defaults are one process with a plain DataLoader.

    Attributes:
        batch_size: of the DataLoader.
        drop_last: of the DataLoader.
        world_size: ranks.
        sharding: who divides the samples between the ranks, one of ``bnguard.loader.sharding.LAWS``.
        sampler_drop_last: of the DistributedSampler; independent of the loader's.
        uneven: nothing is repeated to make ranks equal (Accelerate's ``even_batches=False``, Lightning's
            sampler for ``predict``).
        replicas: of ``nn.DataParallel``.
        iterable: the dataset is an IterableDataset.
        workers: of the DataLoader; they matter to an IterableDataset alone.
        shard: how an IterableDataset divides its samples between the workers, one of
            ``bnguard.loader.sharding.workers.WORKER_SHARDINGS``; None if not known.
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

    def on_ranks(self, world_size: int) -> Setup:
        """Return this setup for another number of ranks; with one, what is to make ranks equal means nothing."""
        if world_size > 1:
            return self._replace(world_size=world_size)
        return self._replace(world_size=1, uneven=False, sampler_drop_last=False)


class Plan(NamedTuple):
    """The streams of one epoch, and how many samples it never shows."""

    streams: tuple[Stream, ...]
    unused: int
