"""Accelerate's ``DataLoaderDispatcher``: rank 0 reads one batch a rank, joins them and deals them out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bnguard._audit_loader.plan import Setup, runs
from bnguard._audit_loader.sharding import Groups, Recognised, ShardingLaw, is_from


class _AccelerateDispatch(ShardingLaw):
    name = "accelerate-dispatch"
    library = "Accelerate"
    divides_batches = one_reader = True

    def plan(self, samples: int, setup: Setup) -> Groups:
        """Share the last round as it is; with ``drop_last`` there is none."""
        world, size = setup.world_size, setup.batch_size
        full, rest = divmod(samples, size * world)
        if setup.drop_last or not rest:
            return ((0, world - 1, runs((size, full))),)
        if not full and 2 * rest < world:
            # Fewer samples than ranks are doubled once; the ranks beyond that get an empty batch.
            return (0, 2 * rest - 1, ((1, 1),)), (2 * rest, world - 1, ((0, 1),))
        return ((0, world - 1, runs((size, full), (-(-rest // world), 1))),)

    def recognise(self, part: Any, setup: Setup) -> Recognised | None:  # noqa: ANN401, ARG002 - Accelerate's
        if not is_from(part, "accelerate", "DataLoaderDispatcher") or part.state.num_processes < 2:
            return None
        why = "Accelerate's dispatcher joins and deals out batches: audit it with --sharding accelerate-dispatch"
        return Recognised(part.state.num_processes, part.state.process_index, None, unknown=why)

    def exclusions(self, setup: Setup) -> Iterator[tuple[str, str]]:
        yield from super().exclusions(setup)
        if setup.uneven:
            message = "--uneven means nothing to Accelerate's dispatcher, which shares the last round evenly"
            yield message, "leave --uneven out"
        if setup.iterable and setup.workers > 1 and setup.world_size > 1:
            message = "Accelerate's dispatcher joins the batches of several workers, whose tails it may refuse"
            yield message, "audit it with --workers 0 or 1"


LAW = _AccelerateDispatch()
