"""Accelerate with ``split_batches=True``: every batch is cut into one piece a rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnguard._audit_loader.plan import runs
from bnguard._audit_loader.sharding.accelerate import Accelerate
from bnguard._errors import UsageError

if TYPE_CHECKING:
    from bnguard._audit_loader.plan import Setup
    from bnguard._audit_loader.sharding import Groups


class _AccelerateSplit(Accelerate):
    name = "accelerate-split"
    splits = divides_batches = True

    def piece(self, setup: Setup) -> int:
        size, world = setup.batch_size, setup.world_size
        if size % world:
            raise UsageError(
                f"Accelerate refuses to split a batch of {size} between {world} ranks",
                hint=f"{-(-size // world) * world} is one that {world} divides",
            )
        return size // world

    def uneven(self, samples: int, piece: int, world: int) -> Groups:
        """Let the first ranks have full pieces of the tail, the next one what is left."""
        full, rest = divmod(samples, piece * world)
        filled, partial = divmod(rest, piece)
        return (
            (0, filled - 1, runs((piece, full + 1))),
            (filled, filled, runs((piece, full), (partial, min(partial, 1)))),
            (filled + 1, world - 1, runs((piece, full))),
        )


LAW = _AccelerateSplit()
