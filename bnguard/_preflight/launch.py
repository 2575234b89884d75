"""``bnguard.preflight``: a script's first training step in a process of its own, and what is foreseen from it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bnguard import _ranks as ranks
from bnguard._errors import BnguardError, UsageError
from bnguard._facts.findings import Report
from bnguard._preflight import outcome
from bnguard._preflight.gather import merged

SECONDS_TO_END = 20.0
"""How long a script may take for its way out after its first training step, and other ranks to come to theirs."""

_TICK = 0.02


def preflight(
    script: str | Path,
    args: Sequence[str] = (),
    *,
    module: bool = False,
    timeout: float = 600.0,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Run a training script through its first step, and say where its first epoch would stop.

    The script runs unmodified in a process of its own, with ``BNGUARD_PREFLIGHT=1`` in its environment, nothing to
    read on stdin, and its output on stderr. Its optimizers move no weight. It is stopped by an exception when its
    training loop asks for the second batch, moves on to evaluation, or begins another epoch, so that its
    ``finally`` blocks and what it registered with ``atexit`` run. This process is not touched.

    Args:
        script: the file, or with ``module`` the module's name.
        args: its command line.
        module: whether ``script`` is run as ``python -m`` does.
        timeout: seconds for all of this.
        progress: called with a line before the script is started.

    Returns:
        The report: ``forecasts``, one for each model and loader, ``models``, ``loaders`` and findings.

    Raises:
        BnguardError: the script is not there, raises before its first training step is done (``detail`` holds its
            traceback), never trains, or does not get there in time.

    """
    if not timeout > 0:
        raise UsageError(f"a timeout of {timeout:g} seconds leaves no time", hint="the default is 600")
    if progress is not None:
        progress(f"bnguard: running {script} through its first training step …")
    started = time.time()
    deadline = time.monotonic() + timeout
    command = [sys.executable, "-m", "bnguard._preflight"]
    with _meeting_place() as folder:
        process = _start([*command, str(folder), "module" if module else "script", str(script), *args])
        try:
            late = _wait(process, folder, deadline, started)
        finally:
            _end(process)
        found = _outcomes(folder, started, deadline)
        if not found:
            raise _too_late(timeout) if late else _ended(process.returncode)
        return merged(found)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the process at the head of a group of its own, so that all it starts can be ended with it."""
    sys.stderr.flush()
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=2,  # stdout is the report's
        env={**os.environ, "BNGUARD_PREFLIGHT": "1"},
        start_new_session=True,
    )


def _wait(process: subprocess.Popen[bytes], folder: Path, deadline: float, started: float) -> bool:
    """Wait for the process to end; not much longer than until somebody has left an outcome, nor past the deadline.

    Returns:
        Whether it is still running.

    """
    told: float | None = None
    while process.poll() is None and time.monotonic() < deadline:
        if told is None and outcome.left(folder, started):
            told = time.monotonic()
        if told is not None and time.monotonic() > told + SECONDS_TO_END:
            break
        time.sleep(_TICK)
    return process.poll() is None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the process and of those it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGTERM if process.poll() is None else signal.SIGKILL)
        else:
            process.kill()
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _meeting_place() -> Iterator[Path]:
    """Yield the folder for outcomes: a temporary one, or that of all ranks, which the last to need it removes."""
    common = ranks.common_folder()
    if common is None:
        with tempfile.TemporaryDirectory(prefix="bnguard-") as folder:
            yield Path(folder)
        return
    try:
        yield common
    finally:
        if ranks.is_local_leader():
            import shutil

            shutil.rmtree(common, ignore_errors=True)


def _outcomes(folder: Path, started: float, deadline: float) -> list[outcome.Outcome]:
    """Read the outcomes; the rank that speaks for all waits for those of the others, which come about now."""
    wanted = ranks.processes_here() if ranks.is_local_leader() else 1
    patience = min(deadline, time.monotonic() + SECONDS_TO_END)
    while wanted > 1 and len(outcome.left(folder, started)) < wanted and time.monotonic() < patience:
        time.sleep(_TICK)
    return outcome.read(folder, started)


def _too_late(timeout: float) -> BnguardError:
    return BnguardError(
        f"the script did not come to the end of its first training step within {timeout:g} seconds",
        hint="give it more time (--timeout SECONDS), or less to do before it trains",
    )


def _ended(code: int) -> BnguardError:
    end = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return BnguardError(
        f"the script's process ended before its first training step was done ({end})",
        hint="it was killed, or the script calls os._exit(); let it return or raise instead",
    )
