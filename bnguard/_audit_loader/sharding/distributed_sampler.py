"""torch's DistributedSampler (``torch/utils/data/distributed.py``), and the two that Lightning derives from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bnguard._audit_loader.sharding import Groups, Recognised, ShardingLaw, behaves_as, is_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnguard._audit_loader.plan import Setup


class _DistributedSampler(ShardingLaw):
    """Rank r takes every W-th sample from r on; ranks are made equal by repeating or dropping, or left uneven."""

    name = "distributed-sampler"
    library = "PyTorch"
    loader_batches = True

    def plan(self, samples: int, setup: Setup) -> Groups:
        world = setup.world_size
        if setup.uneven:
            each, more = divmod(samples, world)
            return (0, more - 1, setup.batches(each + 1)), (more, world - 1, setup.batches(each))
        return ((0, world - 1, setup.batches(_per_rank(samples, world, setup.sampler_drop_last))),)

    def recognise(self, part: Any, setup: Setup) -> Recognised | None:  # noqa: ANN401 - any part of a loader
        from torch.utils.data.distributed import DistributedSampler

        if not isinstance(part, DistributedSampler):
            return None
        world, rank, kind = part.num_replicas, part.rank, type(part).__name__
        dataset: Any = part.dataset  # has a length here, or the sampler none
        setup = setup._replace(sharding=self.name, world_size=world, sampler_drop_last=False, uneven=False)
        if kind == "UnrepeatedDistributedSampler":  # Lightning's for predict
            return Recognised(world, rank, setup._replace(uneven=True), dataset)
        lawful = behaves_as(part, (DistributedSampler,)) or is_from(part, "lightning", "DistributedSamplerWrapper")
        if lawful and part.num_samples == _per_rank(len(dataset), world, part.drop_last):
            return Recognised(world, rank, setup._replace(sampler_drop_last=part.drop_last), dataset)
        why = f"{kind} is no plain DistributedSampler: only rank {rank} of {world} was looked at"
        return Recognised(world, rank, None, dataset, why)

    def exclusions(self, setup: Setup) -> Iterator[tuple[str, str]]:
        if setup.sampler_drop_last and setup.uneven:
            hint = "the one makes all ranks equal, the other leaves them unequal"
            yield "--sampler-drop-last and --uneven exclude each other", hint

    def notes(self, setup: Setup) -> Iterator[str]:
        if setup.iterable:
            yield "nothing in PyTorch divides an IterableDataset between ranks: every rank yields all samples"


def _per_rank(samples: int, world: int, drop_last: bool) -> int:
    """Return what DistributedSampler gives each rank, in its own double-precision arithmetic."""
    if drop_last and samples % world:
        return max(0, math.ceil((samples - world) / world))
    return math.ceil(samples / world)


LAW = _DistributedSampler()
