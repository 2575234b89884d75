"""How the first training step is seen: parts of torch that tell the recorder, and everything put back afterwards."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader

from bnguard import _private_torch as private
from bnguard._facts.models import SourceLine
from bnguard._preflight.recorder import Recorder
from bnguard._preflight.stop import Stop
from bnguard._trace.copies import unwrap
from bnguard._usercode import display_path, whose

_active: list[ExitStack] = []


@contextmanager
def learning(recorder: Recorder) -> Iterator[ExitStack]:
    """Tell the recorder of loaders, forwards and optimizer steps within the block; optimizers move no weight there.

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
        _hold_weights(stack, recorder)
        _compile_nothing(stack)
        _end_threads_quietly(stack)
        yield stack


def replace(stack: ExitStack, owner: Any, name: str, value: object) -> None:  # noqa: ANN401 - a class or a module
    """Put a value in the place of an attribute until the stack is closed."""
    stack.callback(setattr, owner, name, vars(owner)[name])
    setattr(owner, name, value)


# ------------------------------------------------------------------------------------------------ loaders


def _watch_loaders(stack: ExitStack, recorder: Recorder) -> None:
    inside = _Inside()
    make, iterate = DataLoader.__init__, DataLoader.__iter__
    watched: set[type] = {DataLoader}

    @functools.wraps(make)
    def make_and_tell(self: DataLoader[Any], *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        make(self, *args, **kwargs)
        recorder.made(self, _users_line())
        for kind in type(self).__mro__:  # a subclass may iterate in its own way
            if "__iter__" in vars(kind) and issubclass(kind, DataLoader) and kind not in watched:
                watched.add(kind)
                replace(stack, kind, "__iter__", _telling(vars(kind)["__iter__"], recorder, inside))

    replace(stack, DataLoader, "__init__", make_and_tell)
    replace(stack, DataLoader, "__iter__", _telling(iterate, recorder, inside))


def _telling(
    iterate: Callable[[DataLoader[Any]], Iterator[Any]], recorder: Recorder, inside: _Inside
) -> Callable[[DataLoader[Any]], Iterator[Any]]:
    @functools.wraps(iterate)
    def iterate_and_tell(self: DataLoader[Any]) -> Iterator[Any]:
        if id(self) in inside.loaders:  # a subclass that fetches ahead from its own base
            return iterate(self)
        recorder.begun(self)
        with inside.loader(self):
            iterator = iterate(self)
        return Followed(iterator, self, recorder, inside)

    return iterate_and_tell


class _Inside(threading.local):
    """The loaders whose iterators are at work on this thread's stack."""

    def __init__(self) -> None:
        self.loaders: list[int] = []

    @contextmanager
    def loader(self, loader: DataLoader[Any]) -> Iterator[None]:
        self.loaders.append(id(loader))
        try:
            yield
        finally:
            self.loaders.pop()


class Followed:
    """A loader's iterator that tells the recorder of each batch; in all else it is the iterator."""

    def __init__(self, iterator: Iterator[Any], loader: DataLoader[Any], recorder: Recorder, inside: _Inside) -> None:
        self._bnguard = (iterator, loader, recorder, inside)

    def __iter__(self) -> Followed:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - whatever the loader gives
        iterator, loader, recorder, inside = self._bnguard
        recorder.asked(loader)
        with inside.loader(loader):
            batch = next(iterator)
        recorder.gave(loader, batch)
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


def _watch_models(stack: ExitStack, recorder: Recorder) -> None:
    """Tell of each call of a module that is not within the call of another one.

    ``nn.DataParallel`` calls its replicas in threads of their own: while it runs, other threads are within its call.
    """
    call = vars(nn.Module)["__call__"]
    within = threading.local()
    scattering: list[nn.Module] = []

    @functools.wraps(call)
    def tell_and_call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if getattr(within, "call", False) or scattering or _leads_elsewhere(self):
            return call(self, *args, **kwargs)
        recorder.calling(self, args, kwargs)
        within.call = True
        spreads = isinstance(self, nn.DataParallel)
        if spreads:
            scattering.append(self)
        try:
            return call(self, *args, **kwargs)
        finally:
            within.call = False
            if spreads:
                scattering.remove(self)

    replace(stack, nn.Module, "__call__", tell_and_call)


def _leads_elsewhere(module: nn.Module) -> bool:
    """Whether this call stands for one of another method, as when Lightning sends ``training_step`` through a wrapper.

    Such a trainer replaces the forward of the module for one call; what the method then calls is what counts.
    """
    inner, _ = unwrap(module)
    return "forward" in vars(inner) and hasattr(inner, "training_step")


def _compile_nothing(stack: ExitStack) -> None:
    """Let compiled models run as they are written: one step is not worth the minutes that compiling takes."""
    compiling = torch.compile

    @functools.wraps(compiling)
    def compile_later(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - torch's own signature
        if not started:
            started.append(True)
            stack.enter_context(private.compiled_code_runs_eagerly())
        return compiling(*args, **kwargs)

    started: list[bool] = []
    replace(stack, torch, "compile", compile_later)


def _end_threads_quietly(stack: ExitStack) -> None:
    """Let the stop end a thread without a traceback, as SystemExit does."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, Stop):
            before(args)

    replace(stack, threading, "excepthook", hook)


# --------------------------------------------------------------------------------------------- optimizers


def _hold_weights(stack: ExitStack, recorder: Recorder) -> None:
    """Let every optimizer step find no gradients, so that it moves nothing; they are put back after it.

    The step itself runs: schedulers, scalers and profilers that count it are content, and a closure is called.
    """
    held: dict[Optimizer, list[tuple[torch.Tensor, torch.Tensor | None]]] = {}

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 - torch's signature
        recorder.stepped(optimizer)
        given = list(args)
        where = next((i for i, a in enumerate(given) if i and callable(a)), None)
        if where is not None:
            given[where] = _without_gradients(given[where], optimizer, held)
        elif callable(kwargs.get("closure")):
            kwargs = {**kwargs, "closure": _without_gradients(kwargs["closure"], optimizer, held)}
        _take(optimizer, held)
        return tuple(given), kwargs

    def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ANN401, ARG001 - torch's signature
        for parameter, gradient in held.pop(optimizer, []):
            parameter.grad = gradient

    stack.callback(register_optimizer_step_pre_hook(before).remove)
    stack.callback(register_optimizer_step_post_hook(after).remove)


def _take(optimizer: Optimizer, held: dict[Optimizer, list[tuple[torch.Tensor, torch.Tensor | None]]]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    held[optimizer] = [(p, p.grad) for p in parameters]
    for parameter in parameters:
        parameter.grad = None


def _without_gradients(
    closure: Callable[..., Any],
    optimizer: Optimizer,
    held: dict[Optimizer, list[tuple[torch.Tensor, torch.Tensor | None]]],
) -> Callable[..., Any]:
    @functools.wraps(closure)
    def called(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the closure takes
        loss = closure(*args, **kwargs)
        _take(optimizer, held)
        return loss

    return called
