"""The frames that an exception passed through, and the modules in them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from types import FrameType

from torch import Tensor, nn

from bnguard.usercode import whose

MOST_NAMES = 2000
"""A frame or object with more names than this is not searched for a model."""


def frames_of(error: BaseException) -> list[FrameType]:
    """Return the frames of the traceback, the outermost first."""
    return list(lines_of(error))


def lines_of(error: BaseException) -> dict[FrameType, int]:
    """Return the line at which each frame was left; ``f_lineno`` has moved on where a ``with`` block was closed."""
    return dict(traceback.walk_tb(error.__traceback__))


def module_of(frame: FrameType) -> nn.Module | None:
    """Return the module whose method this frame runs, or None."""
    code = frame.f_code
    if not code.co_argcount:
        return None
    first = frame.f_locals.get(code.co_varnames[0])
    return first if isinstance(first, nn.Module) else None


def modules_within(frames: Sequence[FrameType]) -> Iterator[nn.Module]:
    """Yield the modules that the methods on the stack belong to, then those the user's frames can see.

    The second kind is for a stack without any method of a module, such as that of ``loss.backward()``: the model is
    a local or global variable there or in a caller, or an attribute of one (a trainer).
    """
    yield from filter(None, map(module_of, frames))
    for frame in (*frames, *_callers(frames)):
        if whose(frame.f_code.co_filename) in ("user", "library", "python"):
            yield from _visible(frame)


def _callers(frames: Sequence[FrameType]) -> Iterator[FrameType]:
    """Yield the frames above the traceback's first, which is that of the guard."""
    frame = frames[0].f_back if frames else None
    while frame is not None:
        yield frame
        frame = frame.f_back


def _visible(frame: FrameType) -> Iterator[nn.Module]:
    values = list(frame.f_locals.values())[:MOST_NAMES]
    if frame.f_globals is not frame.f_locals:
        values += [frame.f_globals[n] for n in frame.f_code.co_names if n in frame.f_globals]
    yield from (v for v in values if isinstance(v, nn.Module))
    for value in values:
        inside = getattr(value, "__dict__", None)
        if isinstance(inside, dict) and not isinstance(value, (nn.Module, type)) and len(inside) < MOST_NAMES:
            yield from (v for v in inside.values() if isinstance(v, nn.Module))


def root_with(part: nn.Module | Tensor, frames: Sequence[FrameType]) -> nn.Module | None:
    """Return the first module in sight that holds this module, parameter or buffer."""
    for module in modules_within(frames):
        held = module.modules() if isinstance(part, nn.Module) else (*module.parameters(), *module.buffers())
        if any(one is part for one in held):
            return module
    return None
