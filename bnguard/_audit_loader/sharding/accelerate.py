"""Hugging Face Accelerate (``BatchSamplerShard``, ``IterableDatasetShard``): ranks take whole batches in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bnguard._audit_loader.plan import runs
from bnguard._audit_loader.sharding import Groups, Recognised, ShardingLaw, is_from

if TYPE_CHECKING:
    from bnguard._audit_loader.plan import Setup
    from bnguard._facts.loaders import Runs


class Accelerate(ShardingLaw):
    """Rank r gets the batches r, r + W, …; by default the last round is filled up with repeated samples.

    Attributes:
        splits: Accelerate's ``split_batches``.

    """

    name = "accelerate"
    library = "Accelerate"
    splits: ClassVar[bool] = False

    def piece(self, setup: Setup) -> int:
        """Return what one rank gets of a full round."""
        return setup.batch_size

    def plan(self, samples: int, setup: Setup) -> Groups:
        """Give all ranks full batches alone, unless nothing may be repeated or dropped."""
        if setup.uneven and samples and not setup.drop_last:
            return self.uneven(samples, self.piece(setup), setup.world_size)
        return ((0, setup.world_size - 1, self.share(samples, setup)[0]),)

    def uneven(self, samples: int, piece: int, world: int) -> Groups:
        """Return the plan of ``even_batches=False`` for one sample or more: nothing is repeated."""
        count = -(-samples // piece)
        rounds = -(-count // world)
        last = (count - 1) % world  # the rank that takes the tail
        return (
            (0, last - 1, runs((piece, rounds))),
            (last, last, runs((piece, rounds - 1), (samples - (count - 1) * piece, 1))),
            (last + 1, world - 1, runs((piece, rounds - 1))),
        )

    def share(self, samples: int, setup: Setup) -> tuple[Runs, int]:
        """Return full batches, as ``IterableDatasetShard`` does under every option."""
        piece, world = self.piece(setup), setup.world_size
        rounds = samples // (piece * world) if setup.drop_last else -(-samples // (piece * world))
        return runs((piece, rounds)), min(samples, rounds * piece * world)

    def recognise(self, part: Any, setup: Setup) -> Recognised | None:  # noqa: ANN401 - Accelerate's, not imported
        """Read the two shards, which know all of their ranks; a dispatcher deals out batches by another law."""
        stream = is_from(part, "accelerate", "IterableDatasetShard")
        if not (stream or is_from(part, "accelerate", "BatchSamplerShard")) or part.split_batches != self.splits:
            return None
        world, rank = part.num_processes, part.process_index
        setup = setup._replace(sharding=self.name, world_size=world)
        if stream:  # a loader over it batches the pieces of one rank
            whole = setup.batch_size * (world if self.splits else 1)
            return Recognised(world, rank, setup._replace(batch_size=whole), part.dataset)
        setup = setup._replace(uneven=not part.even_batches)
        return Recognised(world, rank, setup, part.batch_sampler)


LAW = Accelerate()
