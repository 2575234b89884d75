"""``bnguard.preflight``: a script runs in a process of its own, one batch of every kind, and what came of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnguard import _ranks as ranks
from bnguard._errors import BnguardError, UsageError
from bnguard._facts.findings import Report
from bnguard._preflight import outcome
from bnguard._preflight.outcome import Settings, merged
from bnguard._sandbox.box import Sandbox
from bnguard._stand_ins import StandIns
from bnguard._usercode import display_path

SECONDS_TO_END = 20.0
"""How long a script may take for its way out once an outcome is there, and other ranks to come to theirs."""

SHARE = 0.9
"""Of the timeout, after which a script is asked to end, so that what it has shown by then can be told."""

_TICK = 0.02


def preflight(
    script: str | Path,
    args: Sequence[str] = (),
    *,
    module: bool = False,
    budget: float = 30.0,
    timeout: float = 600.0,
    keep: bool = False,
    stubs: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Run a training script with one batch of every kind, and say where it stops.

    The script runs unmodified in a process of its own, with ``BNGUARD_PREFLIGHT=1`` in its environment, nothing to
    read on stdin, and its output on stderr. Each DataLoader gives the first batch, one of each other size and the
    last, at their true places; short epochs are given whole. Optimizers step. It ends at the first failure of a
    normalisation layer, at its own end, or when the time is used, by an exception that passes ``except Exception``, so
    that its ``finally`` blocks and what it registered with ``atexit`` run. This process is not touched.

    Args:
        script: the file, or with ``module`` the module's name.
        args: its command line.
        module: whether ``script`` is run as ``python -m`` does.
        budget: seconds for looking further than the kinds of batches of the first epoch: for later epochs, and for
            whole epochs where one batch of each size is no proof.
        timeout: seconds for all of this.
        keep: leave what the script writes; otherwise it is undone afterwards, and the report's ``written`` lists it.
        stubs: packages to replace by stand-ins.
        progress: called with a line before the script is started.

    Returns:
        The report: ``forecasts``, one for each model and loader that were used together, ``models``, ``loaders``,
        findings, and what was not reached.

    Raises:
        BnguardError: the script is not there, raises by itself (``detail`` holds its traceback), never trains, or
            does not get there in time.

    """
    if not timeout > 0:
        raise UsageError(f"a timeout of {timeout:g} seconds leaves no time", hint="the default is 600")
    if not budget >= 0:
        raise UsageError(f"a budget of {budget:g} seconds means nothing", hint="the default is 30")
    if progress is not None:
        progress(f"bnguard: running {script}, one batch of every kind …")
    began, deadline = time.time(), time.monotonic() + timeout
    program = ["module" if module else "script", str(script), *args]
    settings = Settings(budget, began + SHARE * timeout, stand_ins=StandIns(tuple(stubs)))
    found, written = _attempt(program, settings, deadline, timeout, keep=keep)
    if any(o.misled for o in found) and ranks.rank() is None and time.time() < settings.deadline:
        found, written = _attempt(program, replace(settings, whole=True), deadline, timeout, keep=keep)
    report = merged(found)
    return replace(report, extra={**report.extra, **written})


def _attempt(
    program: Sequence[str], settings: Settings, deadline: float, timeout: float, *, keep: bool
) -> tuple[list[outcome.Outcome], dict[str, Any]]:
    """Run the script once and return what its processes came to, and what they wrote, as further keys of the report.

    Raises:
        BnguardError: none of them has left an outcome.

    """
    started = time.time()
    with _meeting_place() as folder, _sandbox(folder, program, keep=keep) as sandbox:
        command = [sys.executable, "-m", "bnguard._preflight", str(folder), settings.as_text(), *program]
        process = _start(*sandbox.command(command, {**os.environ, "BNGUARD_PREFLIGHT": "1"}))
        try:
            late = _wait(process, folder, deadline, started)
        finally:
            _end(process)
        found = _outcomes(folder, started, deadline)
        # the rank that speaks for all has read ours and removed the folder
        if (
            not found and not folder.is_dir() and not ranks.is_local_leader()
        ):  # who speaks for all has read ours and gone
            found = [outcome.Outcome(Report("preflight"), ranks.rank())]
    if not found:
        raise _too_late(timeout) if late else _ended(process.returncode)
    return found, _written(sandbox)


def _sandbox(folder: Path, program: Sequence[str], *, keep: bool) -> Sandbox:
    """Return what undoes the script's writing; ranks on one machine see each other's files and are undone together."""
    common = folder if ranks.common_folder() is not None else None
    script = program[1] if program[0] == "script" else None
    leads = ranks.is_local_leader()
    return Sandbox(Path.cwd(), script=script, keep=keep, shared=(folder,), joined=common, leads=leads)


def _written(sandbox: Sandbox) -> dict[str, Any]:
    entries = [
        {"path": display_path(entry.path), "what": entry.what, "undone": entry.undone, "reason": entry.reason}
        for entry in sandbox.left_out
    ]
    return {"written": entries, "not_undone": list(sandbox.trouble)}


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the process at the head of a group of its own, so that all it starts can be ended with it."""
    sys.stderr.flush()
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=2,  # stdout is the report's
        env=environment,
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
        f"the script did not get as far as an answer within {timeout:g} seconds",
        hint="give it more time (--timeout SECONDS), or less to do before it trains",
    )


def _ended(code: int) -> BnguardError:
    end = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return BnguardError(
        f"the script's process ended without a word ({end})",
        hint="it was killed, or the script calls os._exit() or detaches itself; let it return or raise instead",
    )
