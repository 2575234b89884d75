"""The process in which a script is rehearsed: run it to its first training step, say what it came to."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnguard import _ranks as ranks
from bnguard._errors import BnguardError, UserCodeError
from bnguard._preflight import outcome
from bnguard._preflight.outcome import Outcome, Result
from bnguard._preflight.stop import Stop
from bnguard._run import script
from bnguard._run.script import Program
from bnguard._usercode import one_line, user_traceback

if TYPE_CHECKING:
    from bnguard._preflight.naming import Names
    from bnguard._preflight.recorder import Recorder


def main(argv: Sequence[str]) -> None:
    """Rehearse ``FOLDER script|module NAME ARGS…`` and leave the outcome in the folder."""
    folder, kind, name, *arguments = argv
    die_with_parent()
    try:
        usage = "bnguard preflight [--timeout SECONDS]"
        program = script.module(name, arguments) if kind == "module" else script.script(name, arguments, usage=usage)
        from bnguard._import_torch import import_torch

        import_torch()
    except BnguardError as error:
        outcome.write(Path(folder), Outcome(error, ranks.rank()))
        return
    rehearse(program, Path(folder))


def rehearse(program: Program, folder: Path, *, spawned: bool = False) -> None:
    """Run a program under the recorder and leave the outcome in the folder.

    Args:
        program: the user's code.
        folder: of the outcomes.
        spawned: whether this is a process of the script's own. What it raises leaves then, and one that does not
            train has nothing to say.

    """
    from bnguard._preflight.conclude import look_around
    from bnguard._preflight.naming import Names
    from bnguard._preflight.patches import learning
    from bnguard._preflight.processes import follow_processes
    from bnguard._preflight.recorder import Recorder

    def give_up() -> None:
        """End a process whose script swallows the stop; what it has learned by then is all there is to learn."""
        sys.stderr.write("bnguard: the script swallows the exception that stops it (a bare except?); ending it here\n")
        sys.stderr.flush()
        recorder.closed = True
        leave(None)
        os._exit(0)

    def leave(error: BaseException | None) -> bool:
        result = _result(recorder, names, error, spawned=spawned)
        if result is not None:
            outcome.write(folder, Outcome(result, ranks.rank() if recorder.world.rank is None else recorder.world.rank))
        return result is not None

    recorder, names = Recorder(give_up), Names()
    recorder.on_stop = lambda: look_around(recorder, names)
    error: BaseException | None = None
    with learning(recorder) as stack:
        follow_processes(stack, recorder, folder, rehearse)
        try:
            program()
        except Stop:
            pass
        except BaseException as raised:  # noqa: BLE001 - this is the outermost frame: it is told, or it leaves
            error = raised
    if not leave(error) and error is not None:
        raise error


def _result(recorder: Recorder, names: Names, error: BaseException | None, *, spawned: bool) -> Result | None:
    """Return the report or the reason why there is none; None where somebody else says it."""
    if recorder.relayed:
        return None
    from bnguard._preflight import conclude

    recorder.look_for_loaders()
    conclude.look_around(recorder, names)
    try:
        if isinstance(error, Exception) and not recorder.stopped:
            failed = conclude.failure(recorder, error, names)
            return failed or _raised(error)
        if recorder.trained:
            return conclude.forecast(recorder, names)
    except BnguardError as own:
        return own
    return None if spawned else _never_trained(error)


def _raised(error: Exception) -> BnguardError:
    if isinstance(error, EOFError):
        return UserCodeError(
            f"the script asked for input before its first training step was done: {one_line(error)}",
            detail=user_traceback(error),
            hint="preflight gives no input: pass what it asks for as an argument",
        )
    return UserCodeError(
        f"the script raised before its first training step was done: {one_line(error)}",
        detail=user_traceback(error),
        hint="the traceback above is the script's own; preflight changes nothing but that stdin is empty",
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
