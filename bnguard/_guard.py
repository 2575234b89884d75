"""``bnguard.guard``: the same exception leaves, with a note that names the layer and says why."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from bnguard._diagnose.diagnose import diagnose, require_module
from bnguard._errors import UsageError
from bnguard._facts.findings import Finding
from bnguard._facts.models import SourceLine
from bnguard._facts.norm_kinds import BATCH
from bnguard._models.layers import find_layers
from bnguard._models.origin import assignment_line
from bnguard._rules.runtime import silent_single_sample
from bnguard._usercode import one_line

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
            if sys.version_info >= (3, 11):
                error.add_note(text)
            else:  # Python 3.10 prints no notes
                vars(error)["__notes__"] = [*getattr(error, "__notes__", []), text]
                sys.stderr.write(text + "\n")
    except Exception as own:  # noqa: BLE001 - the user's error matters, ours does not
        sys.stderr.write(f"bnguard: the error below could not be diagnosed ({one_line(own)})\n")


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


# --------------------------------------------- counting single-sample batches that pass BatchNorm without an error


@dataclass
class _Passed:
    """How often single-sample batches passed one layer, and in which step first (steps count from 1)."""

    name: str
    source: SourceLine | None
    first_step: int
    times: int = 0


class Watch:
    """Hooks on the batch normalisation layers of a model, for as long as a guard is open.

    A step is one forward of the model in training mode. Layers that run inside ``torch.compile`` are not seen.
    """

    def __init__(self, model: nn.Module | None) -> None:
        if model is None:
            raise UsageError("watch=True needs the model", hint="write bnguard.guard(model, watch=True)")
        self._model = model
        self._handles: list[RemovableHandle] = []
        self._names = {x.module: x.name for x in find_layers(model) if x.kind is BATCH}
        self.steps = 0
        self.passed: dict[str, _Passed] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One RT105 for each layer that saw a single-sample batch."""
        return tuple(silent_single_sample(p.name, p.source, p.first_step, p.times) for p in self.passed.values())

    def start(self) -> None:
        """Put the hooks on."""
        self._handles.append(self._model.register_forward_pre_hook(self._count_step))
        self._handles += [layer.register_forward_pre_hook(self._look) for layer in self._names]

    def stop(self) -> None:
        """Take the hooks off and write the summary to stderr, where there is one."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self.passed:
            sys.stderr.write(self.summary() + "\n")

    def summary(self) -> str:
        """Return what passed, in one line."""
        first = min(self.passed.values(), key=lambda p: p.first_step)
        most, count = max(p.times for p in self.passed.values()), len(self.passed)
        return (
            f"bnguard: {self.findings[0].code} {most} single-sample {'batch' if most == 1 else 'batches'} in training "
            f"mode passed {count} BatchNorm {'layer' if count == 1 else 'layers'}, first in step {first.first_step} "
            f"of {self.steps} ({first.name or 'the model itself'})"
        )

    def _count_step(self, module: nn.Module, args: tuple[object, ...]) -> None:  # noqa: ARG002 - torch's signature
        if module.training and not torch.compiler.is_compiling():
            self.steps += 1

    def _look(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Look at the batch size alone: this runs for every layer in every step.

        Within torch.compile it must come to nothing, lest counting become a part of the graph.
        """
        if args and args[0].shape[0] == 1 and not torch.compiler.is_compiling():
            self._note(module, args[0])

    def _note(self, layer: nn.Module, x: Tensor) -> None:
        if not layer.training or x.dim() < 2 or x.numel() == x.shape[1]:  # frozen, or PyTorch will raise
            return
        name = self._names[layer]
        if name not in self.passed:
            self.passed[name] = _Passed(name, assignment_line(self._model, name), max(self.steps, 1))
        self.passed[name].times += 1


@contextmanager
def watching_all_models() -> Iterator[None]:
    """Watch every model that is called within the block; write the summaries to stderr at its end."""
    watches: list[Watch] = []
    known: set[nn.Module] = set()

    def watch_first(module: nn.Module, args: tuple[object, ...]) -> None:  # noqa: ARG001 - torch's signature
        if module in known:
            return
        known.update(module.modules())  # the first that is called is the model: its parts are called after it
        if any(layer.kind is BATCH for layer in find_layers(module)):
            watch = Watch(module)
            watch.start()
            watch.steps += module.training  # this call has begun: the model's own hook comes too late for it
            watches.append(watch)

    handle = register_module_forward_pre_hook(watch_first)
    try:
        yield
    finally:
        handle.remove()
        for watch in watches:
            watch.stop()
