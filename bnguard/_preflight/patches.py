"""How a script is watched: parts of torch that tell the recorder, and everything put back afterwards."""

from __future__ import annotations

import builtins
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

from bnguard import _private_torch as private
from bnguard._audit_loader.foreign import followed_as, stood_for
from bnguard._errors import BnguardError
from bnguard._facts.models import SourceLine
from bnguard._models.wrappers import unwrap
from bnguard._preflight import outcome
from bnguard._preflight.batches import Enumerate
from bnguard._preflight.outcome import Settings, Stop
from bnguard._preflight.passes import Pass, SeenLoader
from bnguard._preflight.recorder import Call, Recorder
from bnguard._stand_ins.once_imported import once_imported
from bnguard._usercode import display_path, whose

NOT_TRAINING = ("torch.utils.data", "multiprocessing", "concurrent", "joblib", "loky")
"""Modules whose processes serve others: a DataLoader's workers, pools."""

MOST_SECONDS = 60.0
"""The other processes of a training are waited for no longer than this, once one has an outcome."""

_active: list[ExitStack] = []


@contextmanager
def watching(recorder: Recorder) -> Iterator[ExitStack]:
    """Tell the recorder of loaders, batches, forwards and optimizer steps within the block.

    Yields:
        What puts everything back when it is closed; more can be given to it.

    """
    while _active:  # a process that was forked off has what was put in place for its parent
        _active.pop().close()
    with ExitStack() as stack:
        _active.append(stack)
        stack.callback(_active.clear)
        _watch_loaders(stack, recorder)
        _watch_models(stack, recorder)
        hook = register_optimizer_step_post_hook(lambda *_: recorder.stepped())
        stack.callback(hook.remove)
        _compile_nothing(stack)
        _watch_threads(stack, recorder)
        stack.callback(recorder.look_away)
        replace(stack, builtins, "enumerate", Enumerate)
        yield stack


def replace(stack: ExitStack, owner: Any, name: str, value: object) -> None:  # noqa: ANN401 - a class or a module
    """Put a value in the place of an attribute until the stack is closed."""
    stack.callback(setattr, owner, name, vars(owner)[name])
    setattr(owner, name, value)


# ------------------------------------------------------------------------------------------------ loaders


def _watch_loaders(stack: ExitStack, recorder: Recorder) -> None:
    inside = _Inside()
    make, iterate = DataLoader.__init__, DataLoader.__iter__
    sampler: Any = vars(DataLoader).get(private.INDEX_SAMPLER)
    watched: set[type] = {DataLoader}

    @functools.wraps(make)
    def make_and_tell(self: DataLoader[Any], *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        make(self, *args, **kwargs)
        recorder.made(self, _users_line())
        for kind in type(self).__mro__:  # a subclass may iterate in its own way
            if "__iter__" in vars(kind) and issubclass(kind, DataLoader) and kind not in watched:
                watched.add(kind)
                replace(stack, kind, "__iter__", _telling(vars(kind)["__iter__"], recorder, inside))

    def chosen(self: DataLoader[Any]) -> object:
        own = sampler.fget(self)
        return own if recorder.closed or id(self) not in inside.loaders else _Indices(own, recorder.of(self))

    replace(stack, DataLoader, "__init__", make_and_tell)
    replace(stack, DataLoader, "__iter__", _telling(iterate, recorder, inside))
    if sampler is not None:
        replace(stack, DataLoader, private.INDEX_SAMPLER, property(chosen))
    _watch_other_loaders(stack, recorder, inside)


def _watch_other_loaders(stack: ExitStack, recorder: Recorder, inside: _Inside) -> None:
    """Follow loaders that are no torch ones: what is noted is of a DataLoader with the same batches."""
    stand_ins: WeakKeyDictionary[Any, DataLoader[Any] | None] = WeakKeyDictionary()

    def watch(kind: type) -> None:
        iterate = vars(kind)["__iter__"]

        @functools.wraps(iterate)
        def iterate_and_tell(self: Any) -> Iterator[Any]:  # noqa: ANN401 - another library's
            if self not in stand_ins:
                stand_ins[self] = followed_as(self)
            stand_in = stand_ins[self]
            if stand_in is None or inside.whole:
                return iterate(self)  # type: ignore[no-any-return]
            run = recorder.begun(stand_in)
            with inside.loader(stand_in):
                iterator = iterate(self)
            return Followed(iterator, run, recorder, inside)

        replace(stack, kind, "__iter__", iterate_and_tell)

    stack.enter_context(
        once_imported(
            {
                "accelerate.data_loader": lambda module: watch(module.DataLoaderDispatcher),
                "fastai.data.load": lambda module: watch(module.DataLoader),
                "webdataset.pipeline": lambda module: watch(module.DataPipeline),
            }
        )
    )


class _Indices:
    """Stands for a loader's own sampler of batches: as long, but it yields what is chosen."""

    def __init__(self, sampler: Any, record: SeenLoader) -> None:  # noqa: ANN401 - any iterable of indices
        self._sampler = sampler
        self._record = record

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._sampler)  # now, as torch does: a sampler may count how often it was asked
        run = self._record.passes[-1] if self._record.passes else None  # workers that persist keep this object
        return batches if run is None or run.is_stream else run.choose(batches)

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of the sampler
        return getattr(self._sampler, name)


def _telling(
    iterate: Callable[[DataLoader[Any]], Iterator[Any]], recorder: Recorder, inside: _Inside
) -> Callable[[DataLoader[Any]], Iterator[Any]]:
    @functools.wraps(iterate)
    def iterate_and_tell(self: DataLoader[Any]) -> Iterator[Any]:
        if inside.whole:
            recorder.forget(self)
            return iterate(self)
        if id(self) in inside.loaders:  # a subclass that fetches ahead from its own base
            return iterate(self)
        run = recorder.begun(self)
        with inside.loader(self):
            iterator = iterate(self)
        return Followed(iterator, run, recorder, inside)

    return iterate_and_tell


class _Inside(threading.local):
    """The loaders whose iterators are at work on this thread's stack."""

    def __init__(self) -> None:
        self.loaders: list[int] = []
        self.whole = 0
        """How many of them cut the batches of another one anew, which is given whole therefore."""

    @contextmanager
    def loader(self, loader: DataLoader[Any]) -> Iterator[None]:
        cuts_anew = stood_for(loader) is not loader
        self.loaders.append(id(loader))
        self.whole += cuts_anew
        try:
            yield
        finally:
            self.loaders.pop()
            self.whole -= cuts_anew


class Followed:
    """A loader's iterator that gives some of its batches and tells of each; in all else it is the iterator."""

    def __init__(self, iterator: Iterator[Any], run: Pass, recorder: Recorder, inside: _Inside) -> None:
        self._bnguard = (iterator, run, recorder, inside)

    def __iter__(self) -> Followed:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - whatever the loader gives
        iterator, run, recorder, inside = self._bnguard
        recorder.asked(run, self)
        with inside.loader(run.record.loader):
            batch, place, kind = run.following(lambda: next(iterator))
        recorder.gave(run, batch, place, kind)
        return batch

    def __len__(self) -> int:
        return len(self._bnguard[0])  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of the iterator
        return getattr(self._bnguard[0], name)


def _users_line() -> SourceLine | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if whose(frame.f_code.co_filename) == "user":
            return SourceLine(display_path(frame.f_code.co_filename), frame.f_lineno)
        frame = frame.f_back
    return None


# ------------------------------------------------------------------------------------------------- models


class _Within(threading.local):
    """Whether a root's call is at work on this thread, and what is noted of it."""

    def __init__(self) -> None:
        self.busy = False
        self.call: Call | None = None


def _watch_models(stack: ExitStack, recorder: Recorder) -> None:
    """Tell of each call of a module that is not within the call of another one, and of the layers within.

    ``nn.DataParallel`` calls its replicas in threads of their own: while it runs, other threads are within its call.
    """
    run = vars(nn.Module)["__call__"]
    within = _Within()
    scattering: list[nn.Module] = []
    layers = private.batch_norm_base()

    @functools.wraps(run)
    def tell_and_call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if within.busy or scattering:
            if within.call is not None and args and isinstance(self, layers):
                within.call.layer(self, args[0])
            return run(self, *args, **kwargs)
        if _leads_elsewhere(self):
            return run(self, *args, **kwargs)
        within.call, within.busy = recorder.calling(self, args, kwargs), True
        spreads = isinstance(self, nn.DataParallel)
        if spreads:
            scattering.append(self)
        error: BaseException | None = None
        try:
            if within.call is not None and isinstance(self, layers) and args:
                within.call.layer(self, args[0])
            return run(self, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            call, within.call, within.busy = within.call, None, False
            if spreads:
                scattering.remove(self)
            if call is not None:
                recorder.ended(call, error)

    replace(stack, nn.Module, "__call__", tell_and_call)


def _leads_elsewhere(module: nn.Module) -> bool:
    """Whether this call stands for one of another method, as when Lightning sends ``training_step`` through a wrapper.

    Such a trainer replaces the forward of the module for one call; what the method then calls is what counts.
    """
    inner = unwrap(module)
    return "forward" in vars(inner) and hasattr(inner, "training_step")


def _compile_nothing(stack: ExitStack) -> None:
    """Let compiled models run as they are written: a few steps are not worth the minutes that compiling takes."""
    compiling = torch.compile

    @functools.wraps(compiling)
    def compile_later(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - torch's own signature
        if not started:
            started.append(True)
            stack.enter_context(private.compiled_code_runs_eagerly())
        return compiling(*args, **kwargs)

    started: list[bool] = []
    replace(stack, torch, "compile", compile_later)


def _watch_threads(stack: ExitStack, recorder: Recorder) -> None:
    """Tell of what ends a thread; the stop does that without a traceback, as SystemExit does."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, Stop):
            recorder.in_thread = recorder.in_thread or args.exc_value
            before(args)

    replace(stack, threading, "excepthook", hook)


# ----------------------------------------------------------------------------------------------- processes


class Watched:
    """A process's target that is watched as well; it is pickled to where the process starts."""

    def __init__(
        self, target: Callable[..., object], folder: Path, settings: Settings, watch: Callable[..., object]
    ) -> None:
        self.target = target
        self.folder = folder
        self.settings = settings
        self.watch = watch

    def __call__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the target's own
        """Run the target, and leave what its training came to."""
        self.watch(lambda: self.target(*args, **kwargs), self.folder, self.settings, spawned=True)


def follow_processes(stack: ExitStack, recorder: Recorder, folder: Path, watch: Callable[..., object]) -> None:
    """Watch every process that is made until the stack is closed.

    Args:
        stack: puts everything back.
        recorder: of this process.
        folder: where they leave their outcomes.
        watch: what they run their target with; it is pickled by its name.

    """
    make, join = vars(BaseProcess)["__init__"], vars(BaseProcess)["join"]
    started: list[BaseProcess] = []

    @functools.wraps(make)
    def make_watched(self: BaseProcess, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Process's own
        target = kwargs.get("target")
        module = getattr(target, "__module__", None) or ""
        if target is not None and not module.startswith(NOT_TRAINING):
            kwargs = {**kwargs, "target": Watched(target, folder, recorder.clock.settings, watch)}
            started.append(self)
        make(self, *args, **kwargs)

    @functools.wraps(join)
    def join_and_stop(self: BaseProcess, timeout: float | None = None) -> None:
        join(self, timeout)
        if os.getpid() != parent or self not in started or not outcome.left(folder):
            return
        recorder.relayed = True
        if any(isinstance(o.result, BnguardError) or not o.result.ok for o in outcome.read(folder)):
            for other in started:
                if other.is_alive():
                    join(other, MOST_SECONDS)
            recorder.stop("a process that it started has stopped")

    parent = os.getpid()
    replace(stack, BaseProcess, "__init__", make_watched)
    replace(stack, BaseProcess, "join", join_and_stop)
