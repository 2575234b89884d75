"""Reading a target's text: which file or module, and which expression within it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from bnguard._errors import TargetError, did_you_mean

_EXAMPLES = "for example model.py, model.py:Net(3) or torchvision.models:resnet18"


@dataclass(frozen=True)
class Target:
    """The parts of a target's text: a file or a module, and an expression within it.

    Attributes:
        text: as typed.
        place: the file or module, as typed.
        path: of the user's file, None for an installed module.
        module: dotted name of the module, also that of the file.
        roots: folders that come first on ``sys.path``.
        expression: Python source to evaluate in the module, None for the whole file.

    """

    text: str
    place: str
    path: Path | None
    module: str
    roots: tuple[str, ...]
    expression: str | None


def parse(text: str) -> Target:
    """Split a target's text and find its file.

    Raises:
        TargetError: no such file, a folder, or an expression that is not Python.

    """
    place, expression = _split(text)
    if not place:
        raise TargetError(f"{text!r} names no file and no module", hint=_EXAMPLES)
    if expression and not _is_expression(expression):
        raise TargetError(f"{text!r}: {expression!r} is not a Python expression", hint="for example model.py:Net(3)")
    path = Path(place).expanduser()
    if all(part.isidentifier() for part in place.split(".")) and path.suffix != ".py" and not path.is_file():
        return _module(text, place, expression)
    if not _is_file(path):
        raise no_file(place, path)
    module, root = _module_name(path.resolve())
    roots = tuple(dict.fromkeys((str(path.resolve().parent), str(root))))
    return Target(text, place, path, module, roots, expression or None)


def _split(text: str) -> tuple[str, str]:
    drive = 2 if len(text) > 2 and text[1] == ":" and text[2] in "\\/" else 0  # C:\models\net.py:Net
    head, _, tail = text[drive:].partition(":")
    return text[:drive] + head.strip(), tail.strip()


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # the last two: thousands of parentheses
        return False
    return True


def _module(text: str, place: str, expression: str) -> Target:
    """Return the target of a dotted name; one that lies below the working folder is the user's file."""
    folder = Path.cwd()
    stem = folder.joinpath(*place.split("."))
    local = next((p for p in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")) if p.is_file()), None)
    if local is None and stem.is_dir() and "." not in place:
        raise no_file(place, Path(place))
    return Target(text, place, local, place, (str(folder),), expression or None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than the system allows
        return False


def no_file(place: str, path: Path) -> TargetError:
    """Return the error for a file that is not there: a folder, a slip of the pen, or no file's name at all."""
    try:
        if path.is_dir():
            return TargetError(f"{place} is a folder", hint="name a file in it, such as model.py")
        hint = near_file(path, f"*{path.suffix}") or f"the working folder is {Path.cwd()}"
    except OSError:
        hint = None
    if path.suffix or "/" in place:
        return TargetError(f"there is no file {place}", hint=hint)
    return TargetError(f"{place!r} is neither a file nor a module", hint=_EXAMPLES)


def near_file(path: Path, pattern: str = "*.py") -> str | None:
    """Return ``did you mean …?`` for a file beside this one that is written much like it, None where none is."""
    names = [p.name for p in path.parent.glob(pattern)] if path.parent.is_dir() else []
    return did_you_mean(path.name, names, shown=path.parent.joinpath)


def _module_name(path: Path) -> tuple[str, Path]:
    """Return the file's dotted name and the folder its package lies in, so that relative imports work."""
    parts, folder = [path.stem.replace(".", "_")], path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        parts.insert(0, folder.name)
        folder = folder.parent
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts), folder
