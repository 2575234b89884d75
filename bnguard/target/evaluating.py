"""Evaluating a target's expression in the user's module."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from bnguard.errors import TargetError, did_you_mean
from bnguard.target.blame import explained
from bnguard.target.importing import environment, import_module
from bnguard.target.text import Target, parse
from bnguard.target.training import TrainingStarted, refusing_to_train, stopped


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
    own = ", ".join(_own_names(module))
    other = f"it has: {own or 'nothing'}" if own or target.path else "check the name"
    return TargetError(f"{target.place} has no {name!r}", hint=did_you_mean(name, public) or other)


def _own_names(module: ModuleType) -> list[str]:
    def is_own(name: str, value: object) -> bool:
        return getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")

    return [n for n, v in vars(module).items() if is_own(n, v)][:12]


def load_object(text: str, *, argv: Sequence[str] = (), stubs: Sequence[str] = ()) -> Any:  # noqa: ANN401 - anything
    """Return the object that ``file.py:expression`` names; a plain function is called without arguments.

    A file that begins to train is stopped there: what the expression names may exist by then.

    Raises:
        BnguardError: one line with a hint for everything that can go wrong, the user's own errors included.

    """
    target = parse(text)
    if target.expression is None:
        raise TargetError(
            f"{text!r} names a file, not an object in it", hint=f"for example {target.place}:train_loader"
        )
    with environment(target, argv=argv, stubs=stubs), refusing_to_train():
        try:
            value = evaluate(target, _as_far_as_it_trains(target))
            return value() if inspect.isfunction(value) else value
        except TrainingStarted as error:
            raise stopped(error, target, "the loader") from None
        except (Exception, SystemExit) as error:
            raise explained(error, target) from error


def _as_far_as_it_trains(target: Target) -> ModuleType:
    """Import the module; of a file that begins to train, return what there is of it if the expression's names are."""
    try:
        return import_module(target)
    except TrainingStarted as error:
        names = _free_names(ast.parse(target.expression or "", mode="eval"))
        if error.module is None or not all(hasattr(error.module, n) or hasattr(builtins, n) for n in names):
            raise
        return error.module
