"""``bnguard.preflight``: a script runs in a process of its own, one batch of every kind, and what came of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from bnguard import _ranks as ranks
from bnguard._errors import BnguardError, UsageError
from bnguard._facts.findings import Report
from bnguard._fix.told.reports import with_edits
from bnguard._preflight import outcome, process
from bnguard._preflight.outcome import Outcome, Settings, merged
from bnguard._sandbox.box import Sandbox
from bnguard._stand_ins import StandIns
from bnguard._stand_ins.request import samples
from bnguard._usercode import display_path

SECONDS_TO_END = 20.0
"""How long a script may take for its way out once an outcome is there, and other ranks to come to theirs."""

SHARE = 0.9
"""Of the timeout, after which a script is asked to end, so that what it has shown by then can be told."""

_TICK = 0.02

ELSEWHERE = Report("preflight")
"""What a rank gets whose outcome is in the report of the one that speaks for its machine."""

_End = Literal["by itself", "late", "after others"]
"""How the script's process came to its end: the other two are ours."""


def preflight(  # noqa: PLR0913 - one parameter for each option
    script: str | Path,
    args: Sequence[str] = (),
    *,
    module: bool = False,
    budget: float = 30.0,
    timeout: float = 600.0,
    keep: bool = False,
    stubs: Sequence[str] = (),
    fake_data: int | str | None = None,
    cuda_stand_in: bool = True,
    progress: Callable[[str], None] | None = None,
    label: str | None = None,
) -> Report:
    """Run a training script with one batch of every kind, and say where it stops.

    The script runs unmodified in a process of its own, with ``BNGUARD_PREFLIGHT=1`` in its environment, nothing to
    read on stdin (where that is a terminal, it stays one), and its output on stderr. Each DataLoader gives the first
    batch, one of each other size and the last, at their true places; epochs that fit half of the budget are given
    whole. Optimizers step. It ends at the first failure of a normalisation layer, at its own end, or when the time is
    used, by an exception that passes ``except Exception``, so that its ``finally`` blocks and what it registered with
    ``atexit`` run. This process is not touched.

    Args:
        script: the file, or with ``module`` the module's name.
        args: its command line.
        module: whether ``script`` is run as ``python -m`` does.
        budget: seconds for looking further than the kinds of batches of the first epoch: for later epochs, and for
            whole epochs where one batch of each size is no proof.
        timeout: seconds for all of this.
        keep: leave what the script writes; otherwise it is undone afterwards, and the report's ``written`` lists it.
        stubs: packages to replace by stand-ins.
        fake_data: so many random samples in the place of each of torchvision's data sets; ``"real"`` for as many as
            the real one has.
        cuda_stand_in: let the CPU stand in for CUDA, where there is no device that can be used.
        progress: called with a line before the script is started.
        label: what each line that the script writes begins with, where several run at once.

    Returns:
        The report: ``forecasts``, one for each model and loader that were used together, ``models``, ``loaders``,
        findings, and what was not reached. Of several ranks the first one on each machine gets the report on all of
        them, the others an empty one.

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
    wanted = StandIns(tuple(stubs), samples(fake_data), cuda=cuda_stand_in)
    settings, alone = Settings(budget, began + SHARE * timeout, stand_ins=wanted), ranks.rank() is None
    found, written = _attempt(program, settings, deadline, timeout, keep=keep, label=label)
    if any(o.wants_cuda for o in found) and alone and time.time() < settings.deadline:
        claiming = replace(settings, stand_ins=replace(wanted, cuda_claimed=True))
        again = _attempt(program, claiming, deadline, timeout, keep=keep, label=label)
        if any(isinstance(o.result, Report) or o.trained for o in again[0]):  # it came further than without
            (found, written), settings = again, claiming
    if any(o.misled for o in found) and alone and time.time() < settings.deadline:
        found, written = _attempt(program, replace(settings, whole=True), deadline, timeout, keep=keep, label=label)
    if not found:
        return ELSEWHERE
    report = merged(found)
    return with_edits(replace(report, extra={**report.extra, **written}), None if module else str(script))


def _attempt(
    program: Sequence[str], settings: Settings, deadline: float, timeout: float, *, keep: bool, label: str | None
) -> tuple[list[Outcome], dict[str, Any]]:
    """Run the script once and return what its processes came to, and what they wrote, as further keys of the report.

    Of several ranks on this machine one returns it all; the others leave theirs for it, and return nothing.
    """
    started = time.time()
    with _place() as (folder, has_company), _sandbox(folder, program, has_company, keep=keep) as sandbox:
        command = process.command([str(folder), settings.as_text(), *program])
        boxed = sandbox.command(command, {**os.environ, "BNGUARD_PREFLIGHT": "1"})
        with process.started(*boxed, label) as child:
            try:
                end = _wait(child, folder, deadline, started)
            finally:
                _end(child)
        lost = [] if outcome.left(folder, started) else [_lost(folder, end, child.returncode, timeout)]
        if has_company and not ranks.is_local_leader():
            for one in lost:
                outcome.write(folder, one)
            return [], {}
        if has_company:
            lost += [_NEVER_CAME] * ranks.wait_for_others(folder, SECONDS_TO_END)
        found = [o for place in (folder, *ranks.others(folder)) for o in outcome.read(place, started)]
    return [*found, *lost], _written(sandbox)


@contextmanager
def _place() -> Iterator[tuple[Path, bool]]:
    """Yield the folder for the outcomes of what is started here, and whether other ranks have theirs beside it."""
    with ranks.own_folder() as own:
        if own is not None:
            yield own, True
            return
        with tempfile.TemporaryDirectory(prefix="bnguard-") as folder:
            yield Path(folder), False


def _sandbox(folder: Path, program: Sequence[str], has_company: bool, *, keep: bool) -> Sandbox:
    """Return what undoes the script's writing; ranks on one machine see each other's files and are undone together."""
    common = folder.parent if has_company else None
    script = program[1] if program[0] == "script" else None
    leads = ranks.is_local_leader()
    return Sandbox(Path.cwd(), script=script, keep=keep, shared=(common or folder,), joined=common, leads=leads)


def _written(sandbox: Sandbox) -> dict[str, Any]:
    entries = [
        {"path": display_path(entry.path), "what": entry.what, "undone": entry.undone, "reason": entry.reason}
        for entry in sandbox.left_out
    ]
    return {"written": entries, "not_undone": list(sandbox.trouble)}


def _wait(process: subprocess.Popen[bytes], folder: Path, deadline: float, started: float) -> _End:
    """Wait for the process to end; not much longer than until a rank has left an outcome, nor past the deadline."""
    told: float | None = None
    while process.poll() is None:
        now = time.monotonic()
        if told is None and any(outcome.left(place, started) for place in (folder, *ranks.others(folder))):
            told = now
        if now > deadline:
            return "late"
        if told is not None and now > told + SECONDS_TO_END:
            return "after others"
        time.sleep(_TICK)
    return "by itself"


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


# ------------------------------------------------------------------------- in the place of an outcome that nobody left

_NEVER_CAME = Outcome(BnguardError("it never came to run the script on this machine"), spare=True)


def _lost(folder: Path, end: _End, code: int, timeout: float) -> Outcome:
    """Return why the script's process has left no outcome."""
    if end == "late":
        return Outcome(_too_late(timeout), ranks.rank())
    if end == "after others":
        return Outcome(_after_others(), ranks.rank(), spare=outcome.was_left_alone(folder))
    return Outcome(_ended(code), ranks.rank(), at=0.0)  # what other ranks had then is due to it


def _too_late(timeout: float) -> BnguardError:
    return BnguardError(
        f"the script did not get as far as an answer within {timeout:g} seconds",
        hint="give it more time (--timeout SECONDS), or less to do before it trains",
    )


def _after_others() -> BnguardError:
    return BnguardError(
        f"it was ended without an answer, {SECONDS_TO_END:g} seconds after another rank had one",
        hint="ranks are expected to train together; run preflight without the launcher to see this one by itself",
    )


def _ended(code: int) -> BnguardError:
    end = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return BnguardError(
        f"the script's process ended without a word ({end})",
        hint="it was killed, or the script calls os._exit() or detaches itself; let it return or raise instead",
    )
