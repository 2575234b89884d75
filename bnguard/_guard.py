"""``bnguard.guard``: the same exception leaves, with a note that names the layer and says why."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import warnings
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from bnguard._diagnose.diagnose import find_failure, require_module
from bnguard._errors import UsageError
from bnguard._facts.diagnosis import Diagnosis
from bnguard._facts.findings import Finding
from bnguard._facts.models import SourceLine
from bnguard._facts.norm_kinds import BATCH
from bnguard._models.layers import Layer, find_layers
from bnguard._models.origin import assignment_line
from bnguard._rules.runtime import silent_single_sample
from bnguard._usercode import is_failure, one_line

F = TypeVar("F", bound=Callable[..., Any])


class guard:  # noqa: N801 - used as a word: with guard(model):
    """A context manager and decorator under which a failing normalisation layer is named.

    While all goes well it does nothing. When a normalisation call fails, the same exception leaves, of the same type
    and with its traceback, plus a note (PEP 678; Python 3.10 has none, so there it is printed to stderr) and the
    ``Diagnosis`` as its attribute ``bnguard``. The same goes for an exception that was raised from one of a
    normalisation call or while it was handled, and for a ``sys.exit(1)`` there, which shows no note: then the text goes
    to stderr. Any other exception leaves as it came.

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
        self._annotate(error)
        return False

    def __call__(self, function: F) -> F:
        """Guard every call of a function, while it runs: a coroutine until its end, a generator at each resume."""
        again = functools.partial(guard, self._model, replay=self._replay, watch=self.watch is not None)
        guarded: Callable[..., Any]
        if inspect.iscoroutinefunction(function):
            guarded = _coroutine(function, again)
        elif inspect.isgeneratorfunction(function):
            guarded = _generator(function, again)
        elif inspect.isasyncgenfunction(function):
            guarded = _async_generator(function, again)
        else:
            guarded = _plain(function, again)
        return functools.wraps(function)(guarded)  # type: ignore[return-value]

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Guard a part of something that goes on later: there is nothing to sum up yet."""
        if self.watch is not None:
            self.watch.start()
        try:
            yield
        except (StopIteration, StopAsyncIteration):  # its end
            raise
        except BaseException as error:
            self._annotate(error)
            raise
        finally:
            if self.watch is not None:
                self.watch.pause()

    def sum_up(self) -> None:
        """Say what was watched."""
        if self.watch is not None:
            self.watch.stop()

    def _annotate(self, error: BaseException | None) -> None:
        if isinstance(error, (Exception, SystemExit)):
            annotate(error, self._model, replay=self._replay)


# -------------------------------------------------------------------- what the decorator makes of each kind of function

Function = Callable[..., Any]
Again = Callable[[], guard]


def _plain(function: Function, again: Again) -> Function:
    def guarded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the function's own, here and below
        with again():
            return function(*args, **kwargs)

    return guarded


def _coroutine(function: Function, again: Again) -> Function:
    async def guarded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with again():
            return await function(*args, **kwargs)

    return guarded


def _generator(function: Function, again: Again) -> Function:
    """Do what ``yield from`` does (PEP 380), each resume under the guard."""

    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:  # noqa: ANN401
        mine, generator = again(), function(*args, **kwargs)
        resume = functools.partial(generator.send, None)
        try:
            while True:
                with mine.resumed():
                    value = resume()
                try:
                    sent = yield value
                except GeneratorExit:
                    with mine.resumed():
                        generator.close()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - the generator's to handle
                    resume = functools.partial(generator.throw, thrown)
                else:
                    resume = functools.partial(generator.send, sent)
        except StopIteration as end:
            return end.value
        finally:
            del resume  # it may hold an exception, which holds this frame
            mine.sum_up()

    return guarded


def _async_generator(function: Function, again: Again) -> Function:
    """Do the same for an asynchronous generator."""

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401
        mine, generator = again(), function(*args, **kwargs)
        resume = functools.partial(generator.asend, None)
        try:
            while True:
                with mine.resumed():
                    value = await resume()
                try:
                    sent = yield value
                except GeneratorExit:
                    with mine.resumed():
                        await generator.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - the generator's to handle
                    resume = functools.partial(generator.athrow, thrown)
                else:
                    resume = functools.partial(generator.asend, sent)
        except StopAsyncIteration:
            return
        finally:
            del resume  # as above
            mine.sum_up()

    return guarded


# ----------------------------------------------------------------------------------------- what is said of an exception


def annotate(error: Exception | SystemExit, model: nn.Module | None = None, *, replay: bool = True) -> None:
    """Add the note and the attribute ``bnguard`` to an exception that a normalisation call led to, once; never raises.

    Nobody sees a note on ``SystemExit``, so that its text is written at once, and only if it tells of a failure.
    """
    if getattr(error, "bnguard", None) is not None or (isinstance(error, SystemExit) and not is_failure(error)):
        return
    try:
        found = find_failure(error, model, replay=replay)
        if found is not None:
            _tell(error, *found)
    except Exception as own:  # noqa: BLE001 - the user's error matters, ours does not
        sys.stderr.write(f"bnguard: the error below could not be diagnosed ({one_line(own)})\n")


def _tell(error: Exception | SystemExit, failed: Exception, diagnosis: Diagnosis) -> None:
    # an inner guard may have told it: that is printed with the rest
    is_told = getattr(failed, "bnguard", None) is not None
    for one in (error, failed):
        one.bnguard = diagnosis  # type: ignore[union-attr]
    if is_told:
        return
    text = diagnosis.text()
    if isinstance(error, SystemExit):
        sys.stderr.write(text + "\n")
    elif sys.version_info >= (3, 11):
        error.add_note(text)
    else:  # Python 3.10 prints no notes
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


# --------------------------------------------- counting single-sample batches that pass BatchNorm without an error


@dataclass
class _Passed:
    """How often single-sample batches passed one layer, and in which step first (steps count from 1)."""

    name: str
    source: SourceLine | None
    first_step: int
    times: int = 0


class Watch:
    """Looks at the batch normalisation layers of a model, for as long as a guard is open.

    A step is one forward of the model in training mode. Layers that run inside ``torch.compile`` are not seen. The hook
    is one for all modules of the process: a layer's own would be copied with it, and saved.
    """

    def __init__(self, model: nn.Module | None) -> None:
        if model is None:
            raise UsageError("watch=True needs the model", hint="write bnguard.guard(model, watch=True)")
        self._model = model
        self._looking = ExitStack()
        self._layers = {id(x.module): x for x in find_layers(model) if x.kind is BATCH}
        self.steps = 0
        self.passed: dict[str, _Passed] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One RT105 for each layer that saw a single-sample batch."""
        return tuple(silent_single_sample(p.name, p.source, p.first_step, p.times) for p in self.passed.values())

    def start(self) -> None:
        """Begin to look, or go on."""
        self._looking.enter_context(_told_of_every_call(self._called))

    def pause(self) -> None:
        """Look no more for now."""
        self._looking.close()

    def stop(self) -> None:
        """Look no more, and write the summary to stderr, where there is one."""
        self.pause()
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

    def _called(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Look at the batch size alone: this runs for every module in every step.

        Within torch.compile it must come to nothing, lest counting become a part of the graph.
        """
        if torch.compiler.is_compiling():
            return
        if module is self._model and module.training:
            self.steps += 1
        layer = self._layers.get(id(module))
        if layer is not None and args and args[0].shape[0] == 1:
            self._note(layer, args[0])

    def _note(self, layer: Layer, x: Tensor) -> None:
        if not layer.module.training or x.dim() < 2 or x.numel() == x.shape[1]:  # frozen, or PyTorch will raise
            return
        if layer.name not in self.passed:
            source = assignment_line(self._model, layer.name)
            self.passed[layer.name] = _Passed(layer.name, source, max(self.steps, 1))
        self.passed[layer.name].times += 1


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
            watch.steps += module.training  # this call has begun: the hook comes too late for it
            watches.append(watch)

    with _told_of_every_call(watch_first):
        try:
            yield
        finally:
            for watch in watches:
                watch.stop()


@contextmanager
def _told_of_every_call(hook: Callable[[nn.Module, tuple[Any, ...]], None]) -> Iterator[None]:
    """Have the hook called before every forward in this process; torch's warning of such hooks is for others."""
    warnings.filterwarnings("ignore", r"Using `torch\.compile\(module\)` when there are global hooks", UserWarning)
    own = warnings.filters[0]
    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
        with suppress(ValueError):  # somebody has put all filters back
            warnings.filters.remove(own)  # type: ignore[attr-defined]
