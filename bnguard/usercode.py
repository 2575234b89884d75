"""Telling the user's code from torch's, a library's and our own, and showing only the user's part of a traceback."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Literal

Owner = Literal["user", "library", "torch", "bnguard", "python"]

_HERE = f"{Path(__file__).parent}/"
_STDLIB = f"{sysconfig.get_path('stdlib')}/"
_PACKAGES = ("/site-packages/", "/dist-packages/")


@lru_cache(maxsize=4096)
def whose(filename: str) -> Owner:
    """Say whose file this is, from its path alone."""
    if filename.startswith("<"):
        return "python"
    if filename.startswith(_HERE):
        return "bnguard"
    torch = sys.modules.get("torch")
    if torch is not None and torch.__file__ and filename.startswith(f"{Path(torch.__file__).parent}/"):
        return "torch"
    if any(part in filename for part in _PACKAGES):
        return "library"
    return "python" if filename.startswith(_STDLIB) else "user"


@lru_cache(maxsize=1024)
def display_path(filename: str) -> str:
    """Return the path relative to the working folder where it lies below it."""
    path = Path(filename).absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def user_traceback(error: BaseException) -> str | None:
    """Return the traceback cut to the user's frames, or None where there is none of them.

    A frame of a library is kept where it stands between frames of the user, so that the way is clear.
    """
    frames = traceback.extract_tb(error.__traceback__)
    mine = [i for i, f in enumerate(frames) if whose(f.filename) == "user"]
    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(type(error), error))
    if not mine:
        return None
    kept = [f for f in frames[mine[0] : mine[-1] + 1] if whose(f.filename) in ("user", "library")]
    lines = ["Traceback (your frames only):\n", *traceback.format_list(kept)]
    return "".join([*lines, *traceback.format_exception_only(type(error), error)])


def one_line(error: BaseException) -> str:
    """Return ``Type: first line of the message``."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
