"""Evaluating a target's expression in the user's module."""

from __future__ import annotations

import ast
import builtins
import difflib
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from bnguard.errors import TargetError
from bnguard.target.blame import explained
from bnguard.target.importing import environment, import_module
from bnguard.target.text import Target, parse


def evaluate(target: Target, module: ModuleType) -> Any:  # noqa: ANN401 - whatever the user's module holds
    """Evaluate the target's expression in its module.

    Raises:
        TargetError: a name in the expression does not exist.

    """
    assert target.expression is not None, "asked only of targets with an expression"
    tree = ast.parse(target.expression, mode="eval")
    scope = dict(vars(module))
    for name in _free_names(tree):
        if name in scope or hasattr(builtins, name):
            continue
        if not hasattr(module, name):  # a module-level __getattr__ may answer
            raise _unknown(target, module, name)
        scope[name] = getattr(module, name)
    return eval(compile(tree, "<target>", "eval"), scope)


def _free_names(tree: ast.AST) -> list[str]:
    """Return the names that an expression reads and does not bind itself (in a comprehension or a lambda)."""
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    bound = {n.id for n in names if not isinstance(n.ctx, ast.Load)}
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    return [n.id for n in names if n.id not in bound]


def _unknown(target: Target, module: ModuleType, name: str) -> TargetError:
    public = [n for n in vars(module) if not n.startswith("__")]
    near = [n for n in public if n.lower() == name.lower()] or difflib.get_close_matches(name, public)
    own = ", ".join(_own_names(module))
    return TargetError(
        f"{target.place} has no {name!r}",
        hint=f"did you mean {' or '.join(near)}?"
        if near
        else f"it has: {own or 'nothing'}"
        if own or target.path
        else "check the name",
    )


def _own_names(module: ModuleType) -> list[str]:
    def is_own(name: str, value: object) -> bool:
        return getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")

    return [n for n, v in vars(module).items() if is_own(n, v)][:12]


def load_object(text: str, *, argv: Sequence[str] = (), stubs: Sequence[str] = ()) -> Any:  # noqa: ANN401 - anything
    """Return the object that ``file.py:expression`` names; a plain function is called without arguments.

    Raises:
        BnguardError: one line with a hint for everything that can go wrong, the user's own errors included.

    """
    target = parse(text)
    if target.expression is None:
        raise TargetError(
            f"{text!r} names a file, not an object in it", hint=f"for example {target.place}:train_loader"
        )
    with environment(target, argv=argv, stubs=stubs):
        try:
            value = evaluate(target, import_module(target))
            return value() if inspect.isfunction(value) else value
        except (Exception, SystemExit) as error:
            raise explained(error, target) from error
