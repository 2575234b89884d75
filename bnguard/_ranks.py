"""Which ranks there are, as torch.distributed says and as a launcher says; of ranks that fail together one reports."""

from __future__ import annotations

import atexit
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

_STALE = 60.0
"""Seconds after which a claim outside torchrun's folder is a killed run's, whose port is used again."""

_JOB = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID")


def rank_and_world_size(group: Any = None) -> tuple[int | None, int]:  # noqa: ANN401 - torch's ProcessGroup
    """Return this process's rank and how many train together; ``(None, 1)`` without a process group.

    A group of one process is a group all the same: SyncBatchNorm then refuses tensors on the CPU.

    Args:
        group: whose ranks are counted; None for all. A process outside it has rank -1 of -1.

    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return None, 1
    return distributed.get_rank(group), distributed.get_world_size(group)


def rank() -> int | None:
    """Return this process's rank, None where it is the only one."""
    number, world = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    return int(number) if number.isdigit() and world.isdigit() and int(world) > 1 else None


def world_size() -> int:
    """Return how many processes train together, as their launcher says."""
    return int(os.environ["WORLD_SIZE"]) if rank() is not None else 1


def processes_here() -> int:
    """Return how many processes of this training run on this machine, as their launcher says; all, if it does not."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(local) if rank() is not None and local.isdigit() else world_size()


def speaks() -> bool:
    """Whether this process speaks for all on this machine, where they can wait for each other; one alone does."""
    return rank() is None or os.environ.get("LOCAL_RANK", str(rank())) == "0"


def common_folder() -> Path | None:
    """Return a folder, made if need be, for the processes of this training on this machine; None where there is none.

    Whoever speaks for all removes it.
    """
    place = _common_place() if rank() is not None else None
    if place is None:
        return None
    folder = place.with_name(f"{place.name}.d")
    folder.mkdir(mode=0o700, exist_ok=True)
    mine = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
    return folder if mine else None  # what lies in another user's folder is not read


def claim_report() -> int | None:
    """Claim the report for this process; nobody waits for anybody.

    Returns:
        The rank that has it already, None where this process may report. Where no claim can be made (no common
        folder, a full disk) every process reports.

    """
    mine = rank()
    place = _place_of_claim() if mine is not None else None
    if place is None:
        return None
    try:
        handle = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _claimant(place)
    except OSError:
        return None
    os.write(handle, str(mine).encode())
    os.close(handle)
    return None


def _common_place() -> Path | None:
    """Return a path that all processes of this attempt on this machine come to: in torchrun's own folder, if any."""
    errors = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if errors and Path(errors).parents[1].is_dir():
        return Path(errors).parents[1] / "bnguard-report"
    if "MASTER_PORT" not in os.environ:
        return None
    job = "/".join([*(os.environ.get(name, "") for name in _JOB), str(getattr(os, "getuid", int)())])
    return Path(tempfile.gettempdir(), f"bnguard-report-{hashlib.sha256(job.encode()).hexdigest()[:16]}")


def _place_of_claim() -> Path | None:
    """Return the file to create: in torchrun's own folder for this attempt, else a temporary one that we remove."""
    place = _common_place()
    if place is None or place.parent != Path(tempfile.gettempdir()):
        return place
    try:
        if time.time() - place.stat().st_mtime > _STALE:
            place.unlink(missing_ok=True)
    except OSError:
        pass  # nobody has claimed it
    atexit.register(_remove_own, place)
    return place


def _claimant(place: Path) -> int:
    """Return the rank in the file; it may be about to be written, and then the first rank is the likely one."""
    try:
        text = place.read_text(encoding="ascii")
    except OSError:
        text = ""
    return int(text) if text.isdigit() else 0


def _remove_own(place: Path) -> None:
    try:
        if place.read_text(encoding="ascii") == str(rank()):
            place.unlink()
    except OSError:
        pass
