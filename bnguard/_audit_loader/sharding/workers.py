"""How an IterableDataset divides its samples between the workers of a loader: one object a way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from bnguard._errors import UsageError

Groups = tuple[tuple[int, int, int], ...]
"""``(first worker, last worker, samples each)``, lowest first; a group without workers stands for nothing."""


class WorkerSharding(NamedTuple):
    """One way to share samples between workers.

    Attributes:
        name: as options spell it.
        condition: how a sentence speaks of a dataset that does so.
        divide: from the dataset's samples and 1 worker or more to groups of equal workers.
        repeats: every worker yields the same samples.

    """

    name: str
    condition: str
    divide: Callable[[int, int], Groups]
    repeats: bool = False


def _ceil(samples: int, workers: int) -> Groups:
    """Contiguous shares, as the PyTorch docs write it: in double precision, as their ``float(num_workers)`` is."""
    each = math.ceil(samples / workers)
    full = min(workers, samples // each) if each else workers
    partial = min(full + 1, workers) if samples - full * each else full
    return (0, full - 1, each), (full, partial - 1, samples - full * each), (partial, workers - 1, 0)


def _stride(samples: int, workers: int) -> Groups:
    """``islice(samples, worker_id, None, num_workers)``."""
    each, more = divmod(samples, workers)
    return (0, more - 1, each + 1), (more, workers - 1, each)


def _none(samples: int, workers: int) -> Groups:
    return ((0, workers - 1, samples),)


WORKER_SHARDINGS = {
    sharding.name: sharding
    for sharding in (
        WorkerSharding("ceil", "if the dataset shards by 'ceil'", _ceil),
        WorkerSharding("stride", "if the dataset shards by 'stride'", _stride),
        WorkerSharding("none", "if it does not shard", _none, repeats=True),
    )
}


def worker_sharding(name: str | None) -> WorkerSharding:
    """Return the way of this name.

    Raises:
        UsageError: if there is none.

    """
    found = WORKER_SHARDINGS.get(name or "")
    if found is None:
        raise UsageError(f"--shard {name!r} is not known", hint=f"one of {', '.join(WORKER_SHARDINGS)}")
    return found
