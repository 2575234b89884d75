"""Importing the user's file as Python would run it, and leaving the process as it was."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from bnguard._errors import BnguardError, TargetError
from bnguard._stand_ins.packages import stubbed
from bnguard._targets.text import Target
from bnguard._untouched import replaced, surroundings_kept
from bnguard._usercode import display_path, users_frames, whose


@contextmanager
def environment(target: Target, *, argv: Sequence[str] = (), stubs: Sequence[str] = ()) -> Iterator[None]:
    """Within the block ``sys.path``, ``sys.argv`` and stand-in packages are as the user's file expects.

    Afterwards they are as before, as are the working folder, the environment variables and the recursion limit;
    the modules that came from the file's folder are forgotten, so that another target whose files have the same
    names is not mistaken for this one.
    """
    with ExitStack() as stack:
        stack.enter_context(surroundings_kept())
        stack.callback(_restore_modules, dict(sys.modules), target.roots)
        stack.enter_context(stubbed(stubs))
        sys.path[:0] = target.roots
        sys.argv = [str(target.path or target.module), *argv]
        yield


def _restore_modules(before: dict[str, ModuleType], roots: Sequence[str]) -> None:
    for name, module in list(sys.modules.items()):
        if before.get(name) is not module and _is_users(module, roots):
            del sys.modules[name]
    for name, module in before.items():
        sys.modules.setdefault(name, module)


def import_module(target: Target) -> ModuleType:
    """Import the target's module afresh (a file), or as usual (an installed module).

    Raises:
        Exception: whatever the user's file raises; see ``bnguard._targets.evaluating``.

    """
    if target.path is None:
        return importlib.import_module(target.module)
    _set_aside(target.roots)
    return _import_file(target.path.resolve(), _free_name(target.module))


def _set_aside(roots: Sequence[str]) -> None:
    """Take modules out of ``sys.modules`` whose names the user's folder has files for: its own shall be found.

    These are what an earlier import of this very folder left, and files of the same name in other places.
    """
    files, folders = _names_in(roots)
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if name in ("__main__", "__mp_main__") or top not in files | folders:
            continue
        owner = whose(_file(module)) if _file(module) else "user"
        if owner == "user" or (owner == "library" and top in files):
            del sys.modules[name]


def _names_in(roots: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return the names of modules and packages in these folders, and those of their plain folders."""
    files: set[str] = set()
    folders: set[str] = set()
    for path in (p for root in roots for p in Path(root).iterdir()):
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            files.add(path.stem)
        elif path.is_dir():
            folders.add(path.name)
    return files, folders


def _free_name(module: str) -> str:
    """Keep a user's ``types.py`` from becoming everybody's ``types``, and ``torch.py`` from becoming torch."""
    known = sys.modules.get(module)
    taken = module in sys.stdlib_module_names or (known is not None and bool(_file(known)))
    return f"user_{module}" if taken else module


def _import_file(path: Path, name: str) -> ModuleType:
    parent, _, leaf = name.rpartition(".")
    if parent:
        importlib.import_module(parent)
    if name in sys.modules:  # the package's __init__ imports it
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path.name} is not a Python file", hint="name a file that ends in .py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, TrainingStarted):
            error.module = module
        raise
    if parent:
        setattr(sys.modules[parent], leaf, module)
    return module


def _is_users(module: ModuleType, roots: Sequence[str]) -> bool:
    """Whether a module, or the folder of a package without ``__init__``, lies in the user's folders."""
    places = [_file(module)] if _file(module) else [f"{p}/" for p in getattr(module, "__path__", ())]
    return any(p.startswith(f"{root.rstrip('/')}/") and whose(p) == "user" for p in places for root in roots)


def _file(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else ""


# ------------------------------------------------------------------------------ stopping a file that begins to train


class TrainingStarted(BaseException):
    """The user's file began to train; not an Exception, so it passes ``except``.

    ``module`` is the file's module as far as it had come, where it was being imported.
    """

    module: ModuleType | None = None


@contextmanager
def refusing_to_train() -> Iterator[None]:
    """Within the block the first backward raises :class:`TrainingStarted`."""
    import torch

    def refuse(*_: Any, **__: Any) -> None:  # noqa: ANN401 - of any signature
        raise TrainingStarted

    with replaced(torch.Tensor, "backward", refuse), replaced(torch.autograd, "backward", refuse):
        yield


def stopped(error: TrainingStarted, target: Target, what: str) -> BnguardError:
    """Return the error for a file that trains before it has made ``what`` the target names: ``the model's class``."""
    frames = users_frames(error)
    where = f" ({display_path(frames[-1].filename)}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return TargetError(
        f"{target.place} starts to train when it is loaded{where}; it was stopped there",
        hint=f'move the training under `if __name__ == "__main__":`, or {what} to a file of its own',
    )
