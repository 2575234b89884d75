"""Which line of the user's code created a layer.

While a model is built the creating frame is recorded; for a model that was built before, see ``assigned.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from torch import nn

from bnguard.facts import SourceLine
from bnguard.model.norms import norms
from bnguard.untouched import replaced
from bnguard.usercode import display_path, whose


class Origins:
    """The recorded lines, by module; holds the modules so that an identity is never reused."""

    def __init__(self) -> None:
        self._lines: dict[int, tuple[nn.Module, str, int]] = {}

    def record(self, module: nn.Module, frame: FrameType | None) -> None:
        """Remember the innermost line of user code on this stack, or else the innermost outside torch."""
        place = _creating_line(module, frame)
        if place is not None:
            self._lines.setdefault(id(module), (module, *place))

    def find(self, module: nn.Module) -> SourceLine | None:
        """Return the line that created the module, or None if it was not watched."""
        known = self._lines.get(id(module))
        return None if known is None else SourceLine(display_path(known[1]), known[2])


@contextmanager
def recording(origins: Origins) -> Iterator[None]:
    """Record the creation of every layer of a known class within the block."""
    classes = [cls for cls in norms().classes if "__init__" in vars(cls)]

    def watch(original: Any) -> Any:  # noqa: ANN401 - a constructor of any signature
        def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, N807
            origins.record(self, sys._getframe(1))
            original(self, *args, **kwargs)

        return __init__

    with ExitStack() as stack:
        for cls in classes:
            stack.enter_context(replaced(cls, "__init__", watch(cls.__init__)))
        yield


def _creating_line(module: nn.Module, frame: FrameType | None) -> tuple[str, int] | None:
    fallback: tuple[str, int] | None = None
    while frame is not None:
        code = frame.f_code
        where = whose(code.co_filename)
        if where == "bnguard" and fallback is not None:
            break
        if where in ("user", "library") and not _is_own_constructor(module, frame):
            if where == "user":
                return code.co_filename, frame.f_lineno
            fallback = fallback or (code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return fallback


def _is_own_constructor(module: nn.Module, frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_name == "__init__" and frame.f_locals.get(code.co_varnames[0]) is module
