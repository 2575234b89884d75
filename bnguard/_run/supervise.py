"""A program of the user's, run to its end: its own traceback as Python prints it, and below it what bnguard knows.

torch is not imported before the program does so itself: what a program sets first, such as ``OMP_NUM_THREADS``, still
takes effect.
"""

from __future__ import annotations

import sys
import threading
import traceback
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from bnguard import _ranks as ranks
from bnguard._run import script
from bnguard._run.script import Program
from bnguard._run.shown import Shown
from bnguard._stand_ins.cuda import cuda_is_the_cpu
from bnguard._usercode import in_the_way, is_failure, one_line, users_frames, without_launchers

if TYPE_CHECKING:
    from bnguard._facts.diagnosis import Diagnosis


def supervise(program: Program, *, replay: bool = True, watch: bool = False, cuda_stand_in: bool = False) -> int:
    """Run the program; return the exit code that Python would give it.

    Args:
        program: from ``bnguard._run.script``.
        replay: whether to repeat a failed call on copies, with one thing changed at a time.
        watch: whether to count single-sample batches that pass BatchNorm without an error.
        cuda_stand_in: whether the CPU stands in for CUDA, where there is no device that can be used; said on stderr.

    Raises:
        SystemExit: the program's own.

    """
    _explain_in_threads(replay)
    watching: AbstractContextManager[None] = nullcontext()
    if watch:
        from bnguard._guard import watching_all_models

        watching = watching_all_models()
    shown = Shown(replay)
    with watching, cuda_is_the_cpu(_SaidOnce(), _SaidOnce()) if cuda_stand_in else nullcontext():
        try:
            with shown:
                program()
        except SystemExit as end:
            if is_failure(end):
                explain(end, replay=replay, before=shown.last)
            raise
        except KeyboardInterrupt as interrupt:
            _show(interrupt)
            return 130
        except BaseException as error:  # noqa: BLE001 - Python's own outermost frame does the same
            _show(error)
            explain(error, replay=replay)
            return 1
    return 0


class _SaidOnce:
    """Says on stderr, once and by one of all ranks on this machine, that the CPU stands in for CUDA."""

    said = False

    def __call__(self, what: str, instead: str) -> None:
        if not self.said and ranks.is_local_leader():
            why = "as there is no device that can be used (--no-cuda-stand-in: leave it)"
            sys.stderr.write(f"bnguard: {what} is {instead} here, {why}\n")
        self.said = True


def _show(error: BaseException) -> None:
    """Print the traceback as Python does; where several ranks write, in one piece."""
    error.__traceback__ = without_launchers(error.__traceback__)
    hook = sys.excepthook
    if hook is sys.__excepthook__ and ranks.rank() is not None:
        sys.stderr.write("".join(traceback.format_exception(error)))
        return
    try:
        hook(type(error), error, error.__traceback__)
    except Exception as own:  # noqa: BLE001 - a hook of the user's that fails: Python says so in the same words
        own.__context__, own.__traceback__ = None, without_launchers(own.__traceback__)
        sys.stderr.write("Error in sys.excepthook:\n")
        sys.__excepthook__(type(own), own, own.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, error.__traceback__)


def _explain_in_threads(replay: bool) -> None:
    """Explain what ends a thread as well; Python prints it and goes on."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        before(args)
        if args.exc_value is not None:
            explain(args.exc_value, replay=replay)

    threading.excepthook = hook


def explain(error: BaseException, *, replay: bool = True, before: Diagnosis | None = None) -> None:
    """Write the diagnosis of an error that has just been printed to stderr; never raises.

    Args:
        error: what has ended the program, or a thread.
        replay: whether to repeat a failed call on copies.
        before: what is told where no normalisation layer led to the error.

    """
    if getattr(error, "bnguard", None) is not None:
        return  # a guard of the program's own has said it all
    try:
        with script.before_it():
            shadowed = in_the_way(error) if isinstance(error, Exception) else None
            if shadowed is not None:
                sys.stderr.write(f"bnguard: {shadowed.message}\n  hint: {shadowed.hint}\n")
            if "torch" not in sys.modules or shadowed is not None:
                return  # no layer can have failed
            diagnosis = _diagnose(error, replay) or before
            if diagnosis is not None:
                sys.stderr.write(_one_report(diagnosis) + "\n")
    except Exception as own:  # noqa: BLE001 - the user's error matters, ours does not
        sys.stderr.write(f"bnguard: the error above could not be diagnosed ({one_line(own)})\n")


def _diagnose(error: BaseException, replay: bool) -> Diagnosis | None:
    from bnguard._diagnose.diagnose import find_failure
    from bnguard._facts.diagnosis import ONE_VALUE
    from bnguard._fix.told.failures import Line, next_command

    failure = find_failure(error, replay=replay)
    if failure is None:
        return None
    failed, found = failure
    if found.cause == ONE_VALUE:
        lines = [Line(one.filename, one.lineno or 0, one.name) for one in users_frames(failed)]
        found = replace(found, next_command=next_command(lines, sys.argv[1:]))
    if found.layer is not None or "Traceback" not in str(failed):
        return found
    from bnguard._explain_error import diagnose_text

    read = diagnose_text(str(failed))  # from a process that was spawned only the text of its traceback arrives
    if read is None or (found.candidates and read.layer is None):
        return found
    return replace(read, rank=found.rank, world_size=found.world_size)


def _one_report(diagnosis: Diagnosis) -> str:
    reporting = ranks.claim_report()
    if reporting is None or reporting == ranks.rank():
        return f"\n{diagnosis.text()}"
    layer = "a normalisation layer" if diagnosis.layer is None else diagnosis.layer or "the model itself"
    own = f"rank {ranks.rank()} of {ranks.world_size()}"
    return f"bnguard: {own}: {layer} failed here as well; the report is that of rank {reporting}"
