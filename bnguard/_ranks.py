"""Which ranks there are, as torch.distributed says and as a launcher says; of ranks that fail together one reports."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def from_all_ranks(value: Any, group: Any = None) -> list[Any]:  # noqa: ANN401 - anything that can be pickled
    """Return the value of every rank, in their order; all of them must take part. Alone: this one."""
    number, world = rank_and_world_size(group)
    if number is None or world < 2:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * world
    distributed.all_gather_object(values, value, group)
    return values


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


# ------------------------------------------------------------------ a folder for the ranks of a training on one machine

_FOLDER = "rank-"
"""What the name of each rank's folder begins with."""

_HERE = "here"
"""The file in it that names the process, as long as that is there."""

_TICK = 0.02


@contextmanager
def own_folder() -> Iterator[Path | None]:
    """Yield a folder of this rank's own, beside those of the others on this machine; None where it has no such place.

    All of them are in one folder. The local leader removes it when it leaves, and asks first whether the others have
    left (``wait_for_others``). Whoever finds it gone has nobody to tell anything.
    """
    common = _common_folder() if rank() is not None else None
    if common is None:
        yield None
        return
    own = _move_in(common)
    try:
        yield own
    finally:
        (own / _HERE).unlink(missing_ok=True)
        if is_local_leader():
            shutil.rmtree(common, ignore_errors=True)


def _move_in(common: Path) -> Path:
    """Make this rank's folder, which nobody sees before it names its process."""
    own, made = common / f"{_FOLDER}{rank()}", common / f".{_FOLDER}{rank()}"
    for left in (own, made):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    made.mkdir(mode=0o700)
    (made / _HERE).write_text(str(os.getpid()), encoding="ascii")
    return made.rename(own)


def others(folder: Path) -> list[Path]:
    """Return the folders of the other ranks that have come; none beside a folder that ``own_folder`` did not make."""
    return [p for p in folder.parent.glob(f"{_FOLDER}*") if p != folder] if folder.name.startswith(_FOLDER) else []


def wait_for_others(folder: Path, patience: float) -> int:
    """Wait until the other ranks on this machine have come and left.

    Args:
        folder: from ``own_folder``.
        patience: seconds for those that have not come; those that have are waited for as long as they live.

    Returns:
        How many have not come.

    """
    end = time.monotonic() + patience
    while True:
        missing = processes_here() - 1 - len(others(folder))
        if (missing <= 0 or time.monotonic() > end) and not any(map(_is_occupied, others(folder))):
            return max(missing, 0)
        time.sleep(_TICK)


def _is_occupied(folder: Path) -> bool:
    """Whether its process is there; on Windows only the file can be asked."""
    try:
        process = int((folder / _HERE).read_text(encoding="ascii"))
        if os.name != "nt":
            os.kill(process, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def _common_folder() -> Path | None:
    """Return the folder for all, made if need be; None where there is none that is this user's alone.

    Its path can be foreseen, so another user may have put something in its place.
    """
    path = _common_path()
    if path is None:
        return None
    path = path.with_name(f"{path.name}.d")
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        wrong = _why_not_private(path.lstat())
    except OSError as error:
        wrong = f"cannot be made ({error.strerror})"
    if wrong is None:
        return path
    sys.stderr.write(f"bnguard: the ranks cannot meet in {path}, which {wrong}: each speaks for itself\n")
    return None


def _why_not_private(found: os.stat_result) -> str | None:
    """Return why a folder is not this user's alone, None if it is; elsewhere than on POSIX its bits say nothing."""
    if not stat.S_ISDIR(found.st_mode):
        return "is no folder"
    if not hasattr(os, "getuid"):
        return None
    if found.st_uid != os.getuid():
        return "belongs to another user"
    return "is open to other users" if found.st_mode & 0o077 else None


def _common_path() -> Path | None:
    """Return a path that all processes of this attempt on this machine come to: in torchrun's own folder, if any."""
    errors = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if errors and Path(errors).parents[1].is_dir():
        return Path(errors).parents[1] / "bnguard-report"
    if "MASTER_PORT" not in os.environ:
        return None
    job = "/".join([*(os.environ.get(name, "") for name in _JOB), str(getattr(os, "getuid", int)())])
    return Path(tempfile.gettempdir(), f"bnguard-report-{hashlib.sha256(job.encode()).hexdigest()[:16]}")


# ----------------------------------------------------------------------------- of ranks that fail together one reports


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
