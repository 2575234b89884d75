"""What ``torch.distributed`` knows of this process; asked nowhere else."""

from __future__ import annotations

from typing import Any

import torch


def rank_and_world_size(group: Any = None) -> tuple[int | None, int]:  # noqa: ANN401 - torch's ProcessGroup
    """Return this process's rank and how many train together; ``(None, 1)`` without a process group.

    A group of one process is a group all the same: SyncBatchNorm then refuses tensors on the CPU.

    Args:
        group: whose ranks are counted; None for all. A process outside it has rank -1 of -1.

    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return None, 1
    return distributed.get_rank(group), distributed.get_world_size(group)
