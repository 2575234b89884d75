"""Leaving a process as it was: what the user's code moves while we look at it is put back, also after an error.

Importing this does not import torch: a library that nobody has imported has no state to keep.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial, wraps
from pathlib import Path
from types import FunctionType
from typing import Any

# ------------------------------------------------------------------------------- what a computation changes


@contextmanager
def untouched_process() -> Iterator[None]:
    """Give back random states, torch's switches and warnings as they were."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for get, put in switches():
            stack.callback(_restore, get, put, get())
        stack.enter_context(random_states_kept())
        yield


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Give back the random states of Python, NumPy and torch as they were."""
    import random

    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        if numpy is not None:
            stack.callback(numpy.random.set_state, numpy.random.get_state())
        if torch is not None:
            stack.callback(torch.set_rng_state, torch.get_rng_state())
            if torch.cuda.is_initialized():  # asking must not be what touches the GPU first
                stack.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
        yield


def seed_random_numbers(seed: int) -> None:
    """Let Python, NumPy and torch (on the CPU) draw other numbers; within ``random_states_kept``."""
    import random

    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    random.seed(seed)
    if numpy is not None:
        numpy.random.seed(seed)
    if torch is not None:
        # torch.manual_seed would seed the GPUs too, and those are not put back
        torch.default_generator.manual_seed(seed)


def random_states() -> tuple[object, ...]:
    """Return something that differs when a random number was drawn by Python, NumPy or torch."""
    import random

    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    drawn = None if numpy is None else numpy.random.get_state()
    return (
        random.getstate(),
        None if torch is None else tuple(torch.get_rng_state().tolist()),
        None if drawn is None else (drawn[1].tobytes(), drawn[2]),
    )


@lru_cache(maxsize=1)
def switches() -> tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...]:
    """Return what a user's file may switch in torch, as pairs of a getter and a setter."""
    import torch

    from bnguard._private_torch import default_device

    cudnn = torch.backends.cudnn
    return (
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.get_default_dtype, torch.set_default_dtype),
        (default_device, torch.set_default_device),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        *(
            (partial(getattr, cudnn, name), partial(setattr, cudnn, name))
            for name in ("enabled", "benchmark", "deterministic", "allow_tf32")
        ),
    )


def _restore(get: Callable[[], Any], put: Callable[[Any], object], before: object) -> None:
    if get() != before:  # setting is not free: a default device pushes a mode
        put(before)


@contextmanager
def paused_gc(*, freeze: bool = False) -> Iterator[None]:
    """Keep the collector from walking what grows, again and again: it doubles the time of building a model.

    Args:
        freeze: whether all that there is afterwards stays for good, so that it need not be walked later either.

    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if freeze:
                gc.freeze()
            gc.enable()


# -------------------------------------------------------------------------------------- what a file changes


@contextmanager
def surroundings_kept() -> Iterator[None]:
    """Give back ``sys.path``, ``sys.argv``, working folder, environment variables and recursion limit as they were."""
    path, argv, variables = list(sys.path), sys.argv, dict(os.environ)
    with ExitStack() as stack:
        stack.callback(setattr, sys, "argv", argv)
        stack.callback(sys.path.__setitem__, slice(None), path)
        stack.callback(_restore, partial(dict, os.environ), _set_environment, variables)
        stack.callback(sys.setrecursionlimit, sys.getrecursionlimit())
        stack.callback(os.chdir, Path.cwd())
        yield


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


@contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:  # noqa: ANN401 - a class, module or function
    """Put a value in the place of an attribute of the owner's own."""
    before = vars(owner)[name] if name in vars(owner) else getattr(owner, name)  # of a class: as it is stored
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def exchange_code(stack: ExitStack, function: FunctionType, stub: Any) -> None:  # noqa: ANN401 - a function
    """Let a function do what the stub does, under every name it was imported by: files hold their own names."""
    for attribute in ("__code__", "__defaults__", "__kwdefaults__"):
        stack.enter_context(replaced(function, attribute, getattr(stub, attribute)))


def intercept(stack: ExitStack, function: FunctionType, answer: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``answer(original, *args, **kwargs)`` take the place of a function under every name it was imported by.

    Returns:
        What the answer is given as the original.

    """
    if function.__closure__ is None:
        original = _copied(function)
        exchange_code(stack, function, _calling(partial(answer, original)))
        return original
    instead = wraps(function)(partial(answer, function))  # code with a closure takes no other
    for module in list(sys.modules.values()):
        for name in [n for n, value in vars(module).items() if value is function]:
            stack.enter_context(replaced(module, name, instead))
    return function


def _calling(answer: Callable[..., Any]) -> Callable[..., Any]:
    def instead(*args: Any, _answer: Callable[..., Any] = answer, **kwargs: Any) -> Any:  # noqa: ANN401 - of any kind
        return _answer(*args, **kwargs)  # runs with the other module's globals, so that it brings what it needs

    return instead


def _copied(function: FunctionType) -> FunctionType:
    """Return a function of the same code, for when that of this one is exchanged."""
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


# --------------------------------------------------------------------------------- what a program writes


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the user's prints off stdout, which belongs to the report, and warnings to ourselves."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(_Stderr()):
        warnings.simplefilter("ignore")
        yield


class _Stderr(io.TextIOBase):
    """Passes text on to whatever stderr is at that moment (pytest and notebooks exchange it)."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@contextmanager
def stdout_set_aside() -> Iterator[int]:
    """Within the block file descriptor 1 is stderr, for compiled code too; yield a descriptor of what it was before."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield kept
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
