"""Running code as ``python SCRIPT`` or ``python -m MODULE`` does: ``__main__``, ``sys.argv``, ``sys.path``."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import os
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from bnguard._errors import TargetError

Program = Callable[[], object]
"""Runs the user's code; whatever that raises leaves."""


def script(path: str, arguments: Sequence[str], *, usage: str = "bnguard run [--watch] [--no-replay]") -> Program:
    """Prepare a file, a folder or a zip archive that holds ``__main__.py``.

    Args:
        path: as on the command line.
        arguments: of the script.
        usage: the command and its own options, for who has written one of them behind the script's name.

    Raises:
        TargetError: there is no such file.

    """
    if not Path(path).exists():
        raise TargetError(f"{path}: no such script", hint=_hint_for_missing(path, usage))
    sys.argv = [path, *arguments]
    if Path(path).is_dir() or path.endswith((".zip", ".pyz")):
        _replace_first_folder(path)
        return lambda: runpy.run_path(path, run_name="__main__")
    _replace_first_folder(os.path.dirname(os.path.realpath(path)))  # noqa: PTH120 - a text, as Python puts it there
    return lambda: _execute(path)


def module(name: str, arguments: Sequence[str]) -> Program:
    """Prepare a module or a package with a ``__main__``, found as ``python -m`` finds it.

    Raises:
        TargetError: there is no such module, or it cannot be run.

    """
    _replace_first_folder(str(Path.cwd()))
    sys.argv = ["-m", *arguments]
    _require_module(name)
    return lambda: runpy.run_module(name, run_name="__main__", alter_sys=True)


def _execute(path: str) -> None:
    """Run the file as the module ``__main__``.

    The module stays in ``sys.modules``: what runs at exit still pickles its classes, and processes that are spawned
    find the file by ``__main__.__file__``, which is absolute as in Python itself.
    """
    path = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links
    main = ModuleType("__main__")
    main.__dict__.update(
        __file__=path,
        __builtins__=sys.modules["builtins"],
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
        __package__=None,
        __cached__=None,
        __annotations__={},
    )
    with io.open_code(path) as file:
        source = file.read()
    sys.modules["__main__"] = main
    exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)


def _replace_first_folder(folder: str) -> None:
    """Put the folder where ours was; with ``python -P`` or ``-I`` there is none, and none is wanted."""
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):
        sys.path[0] = folder
        _prepared.add(folder)
        _forget_what_it_has(Path(folder))


_AT_START = {"abc", "codecs", "encodings", "genericpath", "io", "ntpath", "os", "posixpath", "site", "stat"}
"""What Python imports before the script; from 3.11 on most of it is frozen."""

_prepared: set[str] = set()
_forgotten: dict[str, ModuleType] = {}


def _forget_what_it_has(folder: Path) -> None:
    """Forget modules of Python that the folder has a file for, such as ``random.py``.

    In a Python of its own the program would come upon that file; here Python's module is there before it, as bnguard
    itself needs it.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        name = path.stem if path.suffix == ".py" else path.name
        if name in sys.modules and (path.suffix == ".py" or (path / "__init__.py").is_file()) and _can_be_taken(name):
            _forgotten[name] = sys.modules.pop(name)


def _can_be_taken(name: str) -> bool:
    """Say whether a file beside the program comes before the module of Python that has this name."""
    if name not in sys.stdlib_module_names or name in _AT_START:
        return False
    finders = (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)
    return all(finder.find_spec(name) is None for finder in finders)


@contextmanager
def before_it() -> Iterator[None]:
    """Within the block imports are as before the program was prepared, for what bnguard itself needs of them."""
    folder = sys.path[0] if sys.path else ""
    prepared = folder in _prepared
    if prepared:
        del sys.path[0]
    sys.modules.update(_forgotten)
    _forgotten.clear()
    try:
        yield
    finally:
        if prepared:
            sys.path.insert(0, folder)
            _forget_what_it_has(Path(folder))


def _require_module(name: str) -> None:
    try:
        found = None if name.startswith(".") else importlib.util.find_spec(name)
        if found is not None and found.submodule_search_locations is not None:
            found = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a parent package could not import something else: the user's own error
        found = None
    except ValueError:  # a module that is there already, without a spec
        found = None
    if found is None:
        raise TargetError(
            f"no module named {name!r} that can be run",
            hint="`-m` takes a name such as package.train, looked for in the working folder and where Python looks",
        )


def _hint_for_missing(path: str, usage: str) -> str:
    from bnguard._targets.text import near_file

    if path.startswith("-"):
        general = f"options of {' '.join(usage.split()[:2])} stand before the script: {usage} SCRIPT [ARGS]"
    else:
        general = "give the path of a Python file, or -m and the name of a module"
    return near_file(Path(path)) or general
