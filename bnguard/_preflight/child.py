"""The process in which a script runs: watch it to its end, to its first failure or as long as it is worth it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnguard import _ranks as ranks
from bnguard._errors import BnguardError, UserCodeError
from bnguard._facts.findings import Report
from bnguard._forecast.stand_ins import resting_on
from bnguard._import_torch import import_torch
from bnguard._preflight import outcome
from bnguard._preflight.outcome import Outcome, Result, Settings, Stop
from bnguard._run import script
from bnguard._run.script import Program
from bnguard._stand_ins import StandIns, cuda, cuda_standing_in, standing_in
from bnguard._stand_ins.lacking import lacking, perhaps_lacking
from bnguard._stand_ins.request import told
from bnguard._usercode import is_failure, one_line, user_traceback

if TYPE_CHECKING:
    from bnguard._preflight.naming import Names
    from bnguard._preflight.recorder import Recorder


def main(argv: Sequence[str]) -> None:
    """Run ``FOLDER SETTINGS script|module NAME ARGS…`` and leave the outcome in the folder."""
    folder, settings, kind, name, *arguments = argv
    die_with_parent()
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):
        sys.path.insert(0, "")  # where Python itself puts the folder of what it runs
    try:
        usage = "bnguard preflight [--budget SECONDS] [--timeout SECONDS]"
        program = script.module(name, arguments) if kind == "module" else script.script(name, arguments, usage=usage)
        import_torch()
    except BnguardError as error:
        with script.before_it():
            outcome.write(Path(folder), Outcome(error, ranks.rank()))
        return
    with script.before_it():
        import bnguard._preflight.conclude
        import bnguard._preflight.patches
        import bnguard._stand_ins.datasets
        import bnguard._stand_ins.weights  # noqa: F401 - nothing is imported while the script runs
    watch(program, Path(folder), Settings.of_text(settings))


def watch(program: Program, folder: Path, settings: Settings, *, spawned: bool = False) -> None:
    """Run a program under the recorder and leave the outcome in the folder.

    Args:
        program: the user's code.
        folder: of the outcomes.
        settings: how long to look further.
        spawned: whether this is a process of the script's own. What it raises leaves then, and one that does not
            train has nothing to say.

    """
    from bnguard._preflight.naming import Names, look_around
    from bnguard._preflight.patches import follow_processes, watching
    from bnguard._preflight.recorder import Recorder

    def give_up() -> None:
        """End a process whose script swallows the stop."""
        recorder.closed = True
        error = BnguardError(
            "the script swallows the exception that stops it, so it had to be ended",
            hint="write `except Exception:` instead of a bare `except:` or `except BaseException:`",
        )
        outcome.write(folder, Outcome(error, _rank(recorder)))
        sys.stderr.flush()
        os._exit(0)

    recorder, names = Recorder(settings, give_up), Names()
    recorder.on_new = lambda: look_around(recorder, names)
    recorder.on_stop = lambda: outcome.tell_stop(folder)
    error: BaseException | None = None
    with watching(recorder) as stack:
        follow_processes(stack, recorder, folder, watch)
        stood_in = stack.enter_context(standing_in(settings.stand_ins))
        try:
            program()
        except Stop:
            pass
        except BaseException as raised:  # noqa: BLE001 - this is the outermost frame: it is told, or it leaves
            error = raised
        recorder.closed = True
        error = _behind(error)
        recorder.cuda, wants_cuda = any(s.what == "cuda" for s in stood_in), cuda.was_denied()
    at = time.time()
    if isinstance(error, RuntimeError) and recorder.trained and outcome.was_left_alone(folder):
        recorder.why = recorder.why or "another rank was stopped"  # and the error says that it does not answer
    with cuda_standing_in(settings.stand_ins.cuda):  # what is followed on shapes asks for CUDA too
        result = _result(recorder, names, error, spawned=spawned)
    if isinstance(result, Report):
        forecasts = [resting_on(stood_in, f) for f in result.forecasts]
        result = replace(result, forecasts=forecasts, extra={**result.extra, "stood_in": told(stood_in)})
    if result is not None:
        misled = not settings.whole and _misled(recorder, error, result)
        spare = isinstance(result, BnguardError) and not recorder.trained and _ended_well(error)
        wants_cuda = wants_cuda and isinstance(result, BnguardError)
        outcome.write(folder, Outcome(result, _rank(recorder), misled, spare, at, wants_cuda, recorder.trained))
    elif error is not None:
        raise error


def _behind(end: BaseException | None) -> BaseException | None:
    """Return the exception that a script, or what torch starts processes with, has turned into a failing exit code."""
    if isinstance(end, SystemExit) and is_failure(end) and isinstance(end.__context__, Exception):
        return end.__context__
    return end


def _ended_well(error: BaseException | None) -> bool:
    return error is None or (isinstance(error, SystemExit) and not is_failure(error))


def _rank(recorder: Recorder) -> int | None:
    return ranks.rank() if recorder.world.rank is None else recorder.world.rank


def _misled(recorder: Recorder, error: BaseException | None, result: Result) -> bool:
    """Whether the script may have done what it did because batches were left out."""
    if any(use.incomplete for use in recorder.uses):
        return True
    left_out = any(s.left_out for s in recorder.loaders)
    return left_out and isinstance(error, Exception) and isinstance(result, BnguardError)


def _result(recorder: Recorder, names: Names, error: BaseException | None, *, spawned: bool) -> Result | None:
    """Return the report or the reason why there is none; None where somebody else says it."""
    if recorder.relayed and not recorder.trained:
        return None
    from bnguard._preflight import conclude
    from bnguard._preflight.naming import look_around

    look_around(recorder, names)
    try:
        failed = conclude.failure(recorder, error) or conclude.failure(recorder, recorder.in_thread)
        if failed is None and isinstance(error, Exception) and not recorder.stopped:
            left_out = any(s.left_out for s in recorder.loaders)
            return _raised(error, recorder.clock.settings.stand_ins, left_out=left_out)
        if failed is not None or recorder.trained or any(s.empty for s in recorder.loaders):
            return conclude.report(recorder, names, failed)
    except BnguardError as own:
        return own
    return None if spawned else _never_trained(error)


def _raised(error: Exception, wanted: StandIns, *, left_out: bool) -> BnguardError:
    if isinstance(error, EOFError):
        return UserCodeError(
            f"the script asked for input: {one_line(error)}",
            detail=user_traceback(error),
            hint="preflight gives no input: pass what it asks for as an argument",
        )
    lacks = lacking(error, "the script") or (
        None if left_out else perhaps_lacking(error, "the script", wanted.packages)
    )
    if lacks is not None:
        return lacks
    if left_out:
        return UserCodeError(
            f"the script raised {one_line(error)}, perhaps only because batches were left out",
            detail=user_traceback(error),
            hint="more time lets it have all of them: --budget SECONDS",
        )
    return UserCodeError(
        f"the script raised by itself: {one_line(error)}",
        detail=user_traceback(error),
        hint=cuda.hint_for(error, stands_in=wanted.cuda)
        or "the traceback above is the script's own, and no normalisation layer is in it",
    )


def _never_trained(error: BaseException | None) -> BnguardError:
    code = f" with exit code {error.code}" if isinstance(error, SystemExit) and is_failure(error) else ""
    return BnguardError(
        f"the script ended{code} without a training step",
        hint="give it the arguments with which it trains, after its name; a training in a program that it starts "
        "is not seen",
    )


def die_with_parent() -> None:
    """Have this process killed when the one that started it is; only Linux can."""
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    pr_set_pdeathsig = 1  # prctl(2)
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
