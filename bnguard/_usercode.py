"""Telling the user's code from torch's, a library's and our own, and showing only the user's part of a traceback."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Literal

Owner = Literal["user", "library", "torch", "bnguard", "python"]

_HERE = f"{Path(__file__).parent}/"
_STDLIB = f"{sysconfig.get_path('stdlib')}/"
_PACKAGES = ("/site-packages/", "/dist-packages/")
_LAUNCHERS = ("<frozen runpy>", "<frozen importlib._bootstrap>", f"{_STDLIB}runpy.py")
_MOST_FRAMES = 12


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


def display_path(filename: str) -> str:
    """Return the path relative to the working folder where it lies below it."""
    try:
        return _display_path(filename, os.getcwd())  # noqa: PTH109 - asked for every layer, and twenty times as fast
    except FileNotFoundError:  # the working folder is gone
        return filename


@lru_cache(maxsize=1024)
def _display_path(filename: str, folder: str) -> str:
    path = Path(folder, filename)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def user_traceback(error: BaseException) -> str | None:
    """Return the traceback cut to the user's frames, or None where there is none of them.

    A frame of a library is kept where it stands between frames of the user, so that the way is clear. Of an endless
    recursion the first and the last frames are kept.
    """
    last = traceback.format_exception_only(type(error), error)
    if isinstance(error, SyntaxError):
        return "".join(last)
    frames = users_frames(error)
    return "".join(["Traceback (your frames only):\n", *_shortened(frames), *last]) if frames else None


def users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the user's frames of a traceback, and those of libraries that stand between them; outermost first."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [i for i, frame in enumerate(frames) if whose(frame.filename) == "user"]
    between = frames[own[0] : own[-1] + 1] if own else []
    return [frame for frame in between if whose(frame.filename) in ("user", "library")]


def without_launchers(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback below our own frames and ``runpy``'s: what Python alone would have shown."""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if whose(file) != "bnguard" and file not in _LAUNCHERS:
            break
        traceback = traceback.tb_next
    return traceback


def _shortened(frames: list[traceback.FrameSummary]) -> list[str]:
    lines = traceback.format_list(frames)
    left_out = len(lines) - _MOST_FRAMES
    half = _MOST_FRAMES // 2
    return lines if left_out <= 0 else [*lines[:half], f"  … {left_out} frames …\n", *lines[-half:]]


def one_line(error: BaseException) -> str:
    """Return ``Type: first line of the message``."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def is_failure(end: SystemExit) -> bool:
    """Whether a program that ends so says that it has failed."""
    return end.code not in (None, 0)
