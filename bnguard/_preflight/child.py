"""The process in which a script runs: watch it to its end, to its first failure or as long as it is worth it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnguard import _ranks as ranks
from bnguard._errors import BnguardError, UserCodeError
from bnguard._facts.findings import Report
from bnguard._preflight import outcome
from bnguard._preflight.outcome import Outcome, Result, Settings, Stop
from bnguard._run import script
from bnguard._run.script import Program
from bnguard._stand_ins import standing_in
from bnguard._stand_ins.packages import missing
from bnguard._usercode import one_line, user_traceback

if TYPE_CHECKING:
    from bnguard._preflight.naming import Names
    from bnguard._preflight.recorder import Recorder


def main(argv: Sequence[str]) -> None:
    """Run ``FOLDER SETTINGS script|module NAME ARGS…`` and leave the outcome in the folder."""
    folder, settings, kind, name, *arguments = argv
    die_with_parent()
    try:
        usage = "bnguard preflight [--budget SECONDS] [--timeout SECONDS]"
        program = script.module(name, arguments) if kind == "module" else script.script(name, arguments, usage=usage)
        from bnguard._import_torch import import_torch

        import_torch()
    except BnguardError as error:
        outcome.write(Path(folder), Outcome(error, ranks.rank()))
        return
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
    result = _result(recorder, names, error, spawned=spawned)
    if isinstance(result, Report):
        result = replace(result, extra={**result.extra, "stood_in": [s._asdict() for s in stood_in]})
    if result is not None:
        misled = not settings.whole and _misled(recorder, error, result)
        outcome.write(folder, Outcome(result, _rank(recorder), misled))
    elif error is not None:
        raise error


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
            return _raised(error, left_out=any(s.left_out for s in recorder.loaders))
        if failed is not None or recorder.trained:
            return conclude.report(recorder, names, failed)
    except BnguardError as own:
        return own
    return None if spawned else _never_trained(error)


def _raised(error: Exception, *, left_out: bool) -> BnguardError:
    if isinstance(error, EOFError):
        return UserCodeError(
            f"the script asked for input: {one_line(error)}",
            detail=user_traceback(error),
            hint="preflight gives no input: pass what it asks for as an argument",
        )
    if isinstance(error, ModuleNotFoundError) and error.name:
        fault, hint = missing(error.name)
        return UserCodeError(f"the script imports {fault}", detail=user_traceback(error), hint=hint)
    if left_out:
        return UserCodeError(
            f"the script raised {one_line(error)}, perhaps only because batches were left out",
            detail=user_traceback(error),
            hint="more time lets it have all of them: --budget SECONDS",
        )
    return UserCodeError(
        f"the script raised by itself: {one_line(error)}",
        detail=user_traceback(error),
        hint="the traceback above is the script's own, and no normalisation layer is in it",
    )


def _never_trained(error: BaseException | None) -> BnguardError:
    code = f" with exit code {error.code}" if isinstance(error, SystemExit) and error.code not in (None, 0) else ""
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
