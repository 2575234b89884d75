"""Evaluating a target's expression in the user's module."""

from __future__ import annotations

import ast
import builtins
import inspect
import pkgutil
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from bnguard._errors import BnguardError, TargetError, UserCodeError, did_you_mean
from bnguard._stand_ins.packages import is_installed, missing
from bnguard._targets.importing import TrainingStarted, environment, import_module, refusing_to_train, stopped
from bnguard._targets.text import Target, parse
from bnguard._usercode import display_path, one_line, user_traceback


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
    own = [n for n in public if getattr(vars(module)[n], "__module__", None) == module.__name__ and n[0] != "_"]
    other = f"it has: {', '.join(own[:12]) or 'nothing'}" if own or target.path else "check the name"
    return TargetError(f"{target.place} has no {name!r}", hint=did_you_mean(name, public) or other)


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


# ---------------------------------------------------------------------------------- wording what the user's code raised


def explained(error: BaseException, target: Target) -> BnguardError:
    """Turn what the user's code raised into one line with the next step; our own errors pass as they are."""
    if isinstance(error, BnguardError):
        return error
    if isinstance(error, SyntaxError):
        return _not_python(error, target)
    if isinstance(error, SystemExit):
        return UserCodeError(
            f"{target.place} ends the program when it is loaded (sys.exit({error.code!r}))",
            hint='pass the arguments it wants after `--`, or move the script part under `if __name__ == "__main__":`',
            detail=user_traceback(error),
        )
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing_module(error, target)
    return _raised(error, target)


def _raised(error: BaseException, target: Target) -> BnguardError:
    detail = user_traceback(error)
    if "torchvision::" in str(error) and "does not exist" in str(error):
        return UserCodeError(
            f"torchvision does not match the installed torch ({one_line(error)})",
            hint="the two come in pairs: `pip install --force-reinstall torch torchvision`, together, in one command",
        )
    if isinstance(error, AttributeError) and detail is None:
        hint = did_you_mean(error.name or "", dir(error.obj)) or "check the name"
        return TargetError(f"{target.text}: {error}", hint=hint)
    message = "recurses without end" if isinstance(error, RecursionError) else f"raised {one_line(error)}"
    return UserCodeError(
        f"{target.place} {message}", detail=detail, hint="the fault is in the file or its arguments, not in bnguard"
    )


def _not_python(error: SyntaxError, target: Target) -> BnguardError:
    place = display_path(error.filename) if error.filename else target.place
    where = f", line {error.lineno}" if error.lineno else ""
    return UserCodeError(
        f"{place} is not valid Python{where}: {error.msg}",
        hint="mend the line shown above" if error.lineno else "is it a Python file, in UTF-8?",
        detail=user_traceback(error),
    )


def _missing_module(error: ModuleNotFoundError, target: Target) -> BnguardError:
    name = str(error.name)
    if target.path is None and (target.module == name or target.module.startswith(f"{name}.")):
        parent, _, last = target.module.rpartition(".")
        installed = (m.name for m in pkgutil.iter_modules())
        hint = did_you_mean(name, installed) or "install its package, or give a file such as model.py"
        if parent and target.expression is None and is_installed(parent):
            hint = f"did you mean {parent}:{last}?"
        return TargetError(f"there is no module {name!r}", hint=hint)
    fault, hint = missing(name)
    return UserCodeError(f"{target.place} imports {fault}", hint=hint, detail=user_traceback(error))
