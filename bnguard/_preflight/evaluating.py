"""Whether anything in the script puts a model into eval mode: looked up in its source."""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Collection
from pathlib import Path
from types import FrameType

from bnguard._usercode import whose

NO_TRAINERS = ("click", "typer", "hydra", "fire", "absl", "tyro", "jsonargparse", "defopt", "plac", "joblib")
"""Packages that call the script's own main function."""


def trained_by_library(frame: FrameType | None) -> bool:
    """Whether an installed package's training loop is among the callers; it will call ``eval()`` itself.

    Args:
        frame: in which a model is called.

    """
    while frame is not None:
        file = frame.f_code.co_filename
        if whose(file) == "library" and not any(f"/{name}/" in file for name in NO_TRAINERS):
            return True
        frame = frame.f_back
    return False


def never_calls_eval(others: Collection[str] = ()) -> bool:
    """Whether the script's files call neither ``.eval()`` nor ``.train(False)`` on what may be a trained model.

    Args:
        others: what the script calls models that are not trained, such as a teacher: theirs do not count.

    """
    sources = list(_sources())
    return bool(sources) and not any(_calls_eval(text, others) for text in sources)


def _sources() -> list[str]:
    found = []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and not _installed(file) and whose(file) == "user":
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found.append(Path(file).read_text(encoding="utf-8"))
    return found


def _installed(file: str) -> bool:
    """Whether the path alone says that the file is no one's script: two thousand modules are asked."""
    return "/site-packages/" in file or "/dist-packages/" in file


def _calls_eval(source: str, others: Collection[str]) -> bool:
    if ".eval" not in source and ".train" not in source:
        return False
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return True  # not ours to judge
    asked = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "eval")
    if any(_owner(n) not in others for n in asked):
        return True
    return any(_is_train_false(n, others) for n in ast.walk(tree) if isinstance(n, ast.Call))


def _owner(attribute: ast.Attribute) -> str:
    """Return the last name of what the method is called on: ``teacher`` of ``self.teacher.eval``; '' if it has none."""
    value = attribute.value
    return value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""


def _is_train_false(call: ast.Call, others: Collection[str]) -> bool:
    """Whether this is ``.train(…)`` with anything but a plain True: the mode may be a variable."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "train") or _owner(call.func) in others:
        return False
    given = [*call.args, *(k.value for k in call.keywords)]
    return any(not (isinstance(v, ast.Constant) and v.value is True) for v in given)
