"""Wording what the user's code raised: one line, what to do next, and the user's part of the traceback."""

from __future__ import annotations

import importlib.util
import pkgutil

from bnguard.errors import BnguardError, TargetError, UserCodeError, did_you_mean
from bnguard.target.text import Target
from bnguard.usercode import display_path, one_line, user_traceback


def explained(error: BaseException, target: Target) -> BnguardError:
    """Turn what the user's code raised into one line with the next step; our own errors pass as they are."""
    if isinstance(error, BnguardError):
        return error
    if isinstance(error, SyntaxError):
        return _not_python(error, target)
    if isinstance(error, SystemExit):
        return _ends(error, target)
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
        return _missing_attribute(error, target)
    message = "recurses without end" if isinstance(error, RecursionError) else f"raised {one_line(error)}"
    return UserCodeError(
        f"{target.place} {message}", detail=detail, hint="the fault is in the file or its arguments, not in bnguard"
    )


def _ends(error: SystemExit, target: Target) -> BnguardError:
    return UserCodeError(
        f"{target.place} ends the program when it is loaded (sys.exit({error.code!r}))",
        hint='pass the arguments it wants after `--`, or move the script part under `if __name__ == "__main__":`',
        detail=user_traceback(error),
    )


def _not_python(error: SyntaxError, target: Target) -> BnguardError:
    place = display_path(error.filename) if error.filename else target.place
    where = f", line {error.lineno}" if error.lineno else ""
    return UserCodeError(
        f"{place} is not valid Python{where}: {error.msg}",
        hint="mend the line shown above" if error.lineno else "is it a Python file, in UTF-8?",
        detail=user_traceback(error),
    )


def _missing_attribute(error: AttributeError, target: Target) -> BnguardError:
    hint = did_you_mean(error.name or "", dir(error.obj)) or "check the name"
    return TargetError(f"{target.text}: {error}", hint=hint)


def _missing_module(error: ModuleNotFoundError, target: Target) -> BnguardError:
    name = str(error.name)
    if target.path is None and (target.module == name or target.module.startswith(f"{name}.")):
        parent, _, last = target.module.rpartition(".")
        installed = (m.name for m in pkgutil.iter_modules())
        hint = did_you_mean(name, installed) or "install its package, or give a file such as model.py"
        if parent and target.expression is None and _is_installed(parent):
            hint = f"did you mean {parent}:{last}?"
        return TargetError(f"there is no module {name!r}", hint=hint)
    root = name.partition(".")[0]
    if _is_installed(root):
        return UserCodeError(
            f"{target.place} imports {name!r}, which its package does not have",
            hint=f"another version of the package may have it, or go on without it: --stub {name}",
            detail=user_traceback(error),
        )
    return UserCodeError(
        f"{target.place} imports {root!r}, which is not installed",
        hint=f"pip install it, or go on without it: --stub {root}",
        detail=user_traceback(error),
    )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # a module without a spec, such as __main__
        return True
    except ModuleNotFoundError:
        return False
