"""Which ranks there are, as torch.distributed says and as a launcher says; of ranks that fail together one reports."""

from __future__ import annotations

import atexit
import hashlib
import os
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

_STALE_AFTER = 60.0
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


def is_local_leader() -> bool:
    """Whether this process speaks for all on this machine, where they can wait for each other; one alone does."""
    return rank() is None or os.environ.get("LOCAL_RANK", str(rank())) == "0"


def common_folder() -> Path | None:
    """Return a folder, made if need be, for the processes of this training on this machine; None where there is none.

    The local leader removes it.
    """
    path = _common_path() if rank() is not None else None
    if path is None:
        return None
    folder = path.with_name(f"{path.name}.d")
    folder.mkdir(mode=0o700, exist_ok=True)
    is_own = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
    return folder if is_own else None  # what lies in another user's folder is not read


def claim_report() -> int | None:
    """Claim the report for this process; nobody waits for anybody.

    Returns:
        The rank that has it already, None where this process may report. Where no claim can be made (no common
        folder, a full disk) every process reports.

    """
    path = _path_of_claim() if rank() is not None else None
    if path is None:
        return None
    try:
        with open(path, "x", opener=partial(os.open, mode=0o600)) as file:
            file.write(str(rank()))
    except FileExistsError:
        return _claimant(path)
    except OSError:
        pass
    return None


def _common_path() -> Path | None:
    """Return a path that all processes of this attempt on this machine come to: in torchrun's own folder, if any."""
    errors = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if errors and Path(errors).parents[1].is_dir():
        return Path(errors).parents[1] / "bnguard-report"
    if "MASTER_PORT" not in os.environ:
        return None
    job = "/".join([*(os.environ.get(name, "") for name in _JOB), str(getattr(os, "getuid", int)())])
    return Path(tempfile.gettempdir(), f"bnguard-report-{hashlib.sha256(job.encode()).hexdigest()[:16]}")


def _path_of_claim() -> Path | None:
    """Return the file to create: in torchrun's own folder for this attempt, else a temporary one that we remove."""
    path = _common_path()
    if path is None or path.parent != Path(tempfile.gettempdir()):
        return path
    with suppress(OSError):  # nobody has claimed it
        if time.time() - path.stat().st_mtime > _STALE_AFTER:
            path.unlink(missing_ok=True)
    atexit.register(_remove_own, path)
    return path


def _claimant(path: Path) -> int:
    """Return the rank in the file; it may be about to be written, and then the first rank is the likely one."""
    text = ""
    with suppress(OSError):
        text = path.read_text(encoding="ascii")
    return int(text) if text.isdigit() else 0


def _remove_own(path: Path) -> None:
    with suppress(OSError):
        if path.read_text(encoding="ascii") == str(rank()):
            path.unlink()
