"""From the text of a target to the object it names, importing the user's file as Python would.

``model.py`` · ``model.py:Net`` · ``model.py:Net(num_classes=3)`` · ``package.module:attr(…)``
"""

from __future__ import annotations

import ast
import builtins
import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bnguard.errors import BnguardError, TargetError, UserCodeError
from bnguard.stubs import stubbed
from bnguard.usercode import one_line, user_traceback


@dataclass(frozen=True)
class Target:
    """The parts of a target's text: a file or a module, and an expression within it.

    Attributes:
        text: as typed.
        path: of the user's file, None for a module.
        module: dotted name of the module, also that of the file.
        roots: folders that come first on ``sys.path``.
        expression: Python source to evaluate in the module, None for the whole file.

    """

    text: str
    path: Path | None
    module: str
    roots: tuple[str, ...]
    expression: str | None

    @property
    def place(self) -> str:
        """The file or module, as typed."""
        return self.text.split(":", 1)[0] if self.path is None else str(self.path)


def parse(text: str) -> Target:
    """Split a target's text and find its file.

    Raises:
        TargetError: no such file, a folder, or an expression that is not Python.

    """
    place, _, expression = _split(text)
    if expression and not _is_expression(expression):
        raise TargetError(f"{text!r}: {expression!r} is not a Python expression", hint="for example model.py:Net(3)")
    wanted = expression or None
    path = Path(place).expanduser()
    if path.suffix == ".py" or path.exists():
        if path.is_dir():
            raise TargetError(f"{place} is a folder", hint="name a file in it, such as model.py")
        if not path.is_file():
            raise TargetError(f"there is no file {place}", hint=_near_files(path))
        module, root = _module_name(path.resolve())
        roots = tuple(dict.fromkeys((str(path.resolve().parent), str(root))))
        return Target(text, path, module, roots, wanted)
    if not all(part.isidentifier() for part in place.split(".")):
        raise TargetError(
            f"{place!r} is neither a file nor a module",
            hint="for example model.py or torchvision.models:resnet18",
        )
    return Target(text, None, place, (str(Path.cwd()),), wanted)


def _split(text: str) -> tuple[str, str, str]:
    drive = 2 if len(text) > 2 and text[1] == ":" and text[2] in "\\/" else 0  # C:\models\net.py:Net
    head, colon, tail = text[drive:].partition(":")
    return text[:drive] + head, colon, tail.strip()


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return False
    return True


def _near_files(path: Path) -> str:
    folder = path.parent
    names = [p.name for p in folder.glob("*.py")] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names)
    return f"did you mean {folder / near[0]}?" if near else f"the working folder is {Path.cwd()}"


def _module_name(path: Path) -> tuple[str, Path]:
    """Return the file's dotted name and the folder its package lies in, so that relative imports work."""
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts), folder


@contextmanager
def environment(target: Target, *, argv: Sequence[str] = (), stubs: Sequence[str] = ()) -> Iterator[None]:
    """Within the block ``sys.path``, ``sys.argv`` and stand-in packages are as the user's file expects.

    Afterwards they are as before, and the modules that came from the file's folder are forgotten, so that
    another target of the same name is not mistaken for this one.
    """
    path, argv_before, modules = list(sys.path), sys.argv, dict(sys.modules)
    sys.path[:0] = target.roots
    sys.argv = [str(target.path or target.module), *argv]
    try:
        with stubbed(stubs):
            yield
    finally:
        sys.path[:], sys.argv = path, argv_before
        if target.path is not None:
            _forget(target.roots, modules)


def _forget(roots: Sequence[str], before: dict[str, ModuleType]) -> None:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        is_new = before.get(name) is not module
        if is_new and "site-packages" not in file and any(file.startswith(f"{root}/") for root in roots):
            if name in before:
                sys.modules[name] = before[name]
            else:
                del sys.modules[name]


def import_module(target: Target) -> ModuleType:
    """Import the target's module afresh (a file) or as usual (an installed module).

    Raises:
        BnguardError: it cannot be imported; the hint says what to do about the usual reasons.

    """
    if target.path is None:
        return importlib.import_module(target.module)
    name = target.module
    if name in sys.stdlib_module_names:  # a user's types.py must not become everybody's types
        name = f"user_{name}"
    spec = importlib.util.spec_from_file_location(name, target.path.resolve())
    if spec is None or spec.loader is None:
        raise TargetError(f"{target.path} is not a Python file", hint="name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    if "." in name:
        importlib.import_module(name.rpartition(".")[0])
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before
        raise
    return module


def evaluate(target: Target, module: ModuleType) -> Any:  # noqa: ANN401 - whatever the user's module holds
    """Evaluate the target's expression in its module.

    Raises:
        TargetError: the first name of the expression does not exist.

    """
    expression = target.expression
    assert expression is not None, "asked only of targets with an expression"
    names = vars(module)
    tree = ast.parse(expression, mode="eval")
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Name)
            and node.id not in names
            and not hasattr(builtins, node.id)
            and not hasattr(module, node.id)
        ):
            public = [n for n in names if not n.startswith("__")]
            near = difflib.get_close_matches(node.id, public) or [n for n in public if n.lower() == node.id.lower()]
            hint = (
                f"did you mean {' or '.join(near)}?"
                if near
                else f"it has: {', '.join(_own_names(module)) or 'nothing'}"
            )
            raise TargetError(f"{target.place} has no {node.id!r}", hint=hint)
    head = next((n.id for n in ast.walk(tree) if isinstance(n, ast.Name)), None)
    scope = dict(names)
    if head is not None and head not in scope and hasattr(module, head):
        scope[head] = getattr(module, head)  # a module-level __getattr__
    return eval(compile(tree, "<target>", "eval"), scope)


def _own_names(module: ModuleType) -> list[str]:
    own = [
        n
        for n, v in vars(module).items()
        if getattr(v, "__module__", None) == module.__name__ and not n.startswith("_")
    ]
    return own[:12]


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


def explained(error: BaseException, target: Target) -> BnguardError:
    """Turn what the user's code raised into one line with the next step; our own errors pass as they are."""
    if isinstance(error, BnguardError):
        return error
    place = target.place
    if isinstance(error, SyntaxError):
        where = f", line {error.lineno}" if error.lineno else ""
        return UserCodeError(
            f"{error.filename or place} is not valid Python{where}: {error.msg}",
            hint="mend the line shown above",
            detail=user_traceback(error),
        )
    if isinstance(error, SystemExit):
        hint = 'pass the arguments it wants after `--`, or move the script part under `if __name__ == "__main__":`'
        return UserCodeError(f"{place} ends the program while it is imported (sys.exit({error.code!r}))", hint=hint)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing_module(error, target)
    if "torchvision::" in str(error) and "does not exist" in str(error):
        return UserCodeError(
            f"torchvision does not match the installed torch ({one_line(error)})",
            hint="the two come in pairs: `pip install --force-reinstall torch torchvision`, together, in one command",
        )
    if isinstance(error, RecursionError):
        return UserCodeError(
            f"{place} recurses without end", detail=None, hint="see the deepest repeated call in your file"
        )
    return UserCodeError(
        f"{place} raised {one_line(error)}",
        detail=user_traceback(error),
        hint="the fault is in the file or its arguments, not in bnguard",
    )


def _missing_module(error: ModuleNotFoundError, target: Target) -> BnguardError:
    name = str(error.name)
    if target.path is None and (target.module == name or target.module.startswith(f"{name}.")):
        return TargetError(f"there is no module {name!r}", hint="install its package, or give a file such as model.py")
    root = name.split(".", maxsplit=1)[0]
    if importlib.util.find_spec(root) is not None:
        return UserCodeError(
            f"{target.place} imports {name!r}, which its package does not have",
            hint="another version of the package may have it",
            detail=user_traceback(error),
        )
    return UserCodeError(
        f"{target.place} imports {root!r}, which is not installed",
        hint=f"pip install it, or go on without it: --stub {root}",
        detail=None,
    )
