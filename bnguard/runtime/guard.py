"""``bnguard.guard``: the same exception leaves, with a note that names the layer and says why."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, TypeVar

from torch import nn

from bnguard.runtime.postmortem import diagnose, require_module
from bnguard.runtime.watch import Watch
from bnguard.usercode import one_line

F = TypeVar("F", bound=Callable[..., Any])


class guard:  # noqa: N801 - used as a word: with guard(model):
    """A context manager and decorator under which a failing normalisation layer is named.

    While all goes well it does nothing. When a normalisation call fails, the same exception leaves, of the same type
    and with its traceback, plus a note (PEP 678; Python 3.10 has none, so there it is printed to stderr) and the
    ``Diagnosis`` as its attribute ``bnguard``. Any other exception leaves as it came.

    Args:
        model: whose dotted names are wanted; None to find the root in the traceback.
        replay: whether to repeat the failed call on copies, with one thing changed at a time.
        watch: whether to count single-sample batches that pass BatchNorm without an error; needs the model.

    Raises:
        BnguardError: ``model`` is no module, or missing where it is needed.

    """

    def __init__(self, model: nn.Module | None = None, *, replay: bool = True, watch: bool = False) -> None:
        require_module(model)
        self._model = model
        self._replay = replay
        self.watch = Watch(model) if watch else None

    def __enter__(self) -> guard:
        if self.watch is not None:
            self.watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        if self.watch is not None:
            self.watch.stop()
        if isinstance(error, Exception):
            annotate(error, self._model, replay=self._replay)
        return False

    def __call__(self, function: F) -> F:
        """Guard every call of a function; coroutine functions too."""
        again = functools.partial(guard, self._model, replay=self._replay, watch=self.watch is not None)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def guarded_async(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
                with again():
                    return await function(*args, **kwargs)

            return guarded_async  # type: ignore[return-value]

        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            with again():
                return function(*args, **kwargs)

        return guarded  # type: ignore[return-value]


def annotate(error: Exception, model: nn.Module | None = None, *, replay: bool = True) -> None:
    """Add the note and the attribute ``bnguard`` to an exception of a normalisation call, once; never raises."""
    if getattr(error, "bnguard", None) is not None:
        return
    try:
        diagnosis = diagnose(error, model, replay=replay)
        if diagnosis is not None:
            text = diagnosis.text()
            error.bnguard = diagnosis  # type: ignore[attr-defined]
            _add_note(error, text)
    except Exception as own:  # noqa: BLE001 - the user's error matters, ours does not
        sys.stderr.write(f"bnguard: the error below could not be diagnosed ({one_line(own)})\n")


def _add_note(error: Exception, text: str) -> None:
    """Add a PEP 678 note; Python 3.10 prints none, so there the text goes to stderr as well."""
    if sys.version_info >= (3, 11):
        error.add_note(text)
        return
    vars(error)["__notes__"] = [*getattr(error, "__notes__", []), text]
    sys.stderr.write(text + "\n")


def install(model: nn.Module | None = None, *, replay: bool = True) -> None:
    """Diagnose every uncaught exception of this process and its threads before it is printed.

    Calling it again does nothing.
    """
    require_module(model)
    before, before_thread = sys.excepthook, threading.excepthook
    if getattr(before, "__module__", None) == __name__:  # it is ours already
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, Exception):
            annotate(error, model, replay=replay)
        before(kind, error, traceback)

    def thread_hook(args: threading.ExceptHookArgs) -> None:
        if isinstance(args.exc_value, Exception):
            annotate(args.exc_value, model, replay=replay)
        before_thread(args)

    sys.excepthook, threading.excepthook = hook, thread_hook
