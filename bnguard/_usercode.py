"""Telling the user's code from torch's, a library's and our own, and showing only the user's part of a traceback."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import PathFinder
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Literal

from bnguard._errors import UserCodeError

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


def values_at(error: BaseException) -> Iterator[object]:
    """Yield what the innermost of the user's functions had at hand: its variables, and globals and attributes it names.

    Of a list, tuple or dictionary its elements as well.
    """
    frames = [f for f, _ in traceback.walk_tb(error.__traceback__) if whose(f.f_code.co_filename) == "user"]
    for frame in frames[-1:]:
        named = frame.f_code.co_names
        attributes = getattr(frame.f_locals.get("self"), "__dict__", {})
        found = [*frame.f_locals.values(), *(v[n] for v in (frame.f_globals, attributes) for n in named if n in v)]
        for value in found:
            yield value
            if isinstance(value, (list, tuple)):
                yield from value
            elif isinstance(value, dict) and value is not frame.f_globals:
                yield from value.values()


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


def shadowing(error: BaseException) -> tuple[str, str] | None:
    """Return the user's file that Python took for a module of its own or of a library, and the module's name.

    None where the error has nothing to do with that. A ``queue.py`` beside the script is found before Python's own, and
    what then fails is a library that needs the latter.
    """
    for file in _suspects(error):
        path = Path(file)
        name = path.parent.name if path.stem == "__init__" else path.stem
        if whose(file) == "user" and path.suffix == ".py" and _is_elsewhere(name, path):
            return file, name
    return None


def _suspects(error: BaseException) -> Iterator[str]:
    """Yield files that may be at fault: that of a module that lacks something, and those that a library imports."""
    lacking = getattr(error, "path", None), getattr(getattr(error, "obj", None), "__file__", None)
    yield from (file for file in lacking if isinstance(file, str))
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    package = sys.modules.get((name or "").partition(".")[0])
    if name and "." in name and isinstance(getattr(package, "__file__", None), str):
        yield str(package.__file__)  # type: ignore[union-attr]
    frames = [f.filename for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    for outer, inner in pairwise(frames):
        if whose(outer) not in ("user", "bnguard") and whose(inner) == "user":
            yield inner


def _is_elsewhere(name: str, path: Path) -> bool:
    """Say whether a module of this name is there without the folder that this file lies in."""
    if name in sys.stdlib_module_names:
        return True
    own = {str(path.parent), str(path.parent.parent), ""}
    try:
        return PathFinder.find_spec(name, [p for p in sys.path if p not in own]) is not None
    except (ImportError, ValueError):
        return False


def in_the_way(error: BaseException) -> UserCodeError | None:
    """Return the error for a user's file that is taken for a module that a library needs, None where there is none."""
    found = shadowing(error)
    if found is None:
        return None
    file, name = found
    return UserCodeError(
        f"{display_path(file)} is taken for the module {name!r} that is needed ({one_line(error)})",
        hint="rename it: Python looks for modules beside the script first",
    )


def constructing(error: BaseException, folder: str) -> Iterator[object]:
    """Yield each object whose ``__init__``, in a file of this folder, the error came through; outermost first."""
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_name == "__init__" and folder in code.co_filename and "self" in step.tb_frame.f_locals:
            yield step.tb_frame.f_locals["self"]
        step = step.tb_next


def is_failure(end: SystemExit) -> bool:
    """Whether a program that ends so says that it has failed."""
    return end.code not in (None, 0)
