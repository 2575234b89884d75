"""Which line of the user's code created a layer.

While a model is built the creating frame is recorded; of a model that was built before, its classes are read.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import FrameType, FunctionType
from typing import Any

from torch import nn

from bnguard._facts.models import SourceLine
from bnguard._models.layers import norms
from bnguard._models.wrappers import module_named
from bnguard._source import within
from bnguard._untouched import replaced
from bnguard._usercode import display_path, whose


class Origins:
    """The recorded lines, by module; holds the modules so that an identity is never reused."""

    def __init__(self) -> None:
        self._lines: dict[int, tuple[nn.Module, str, int]] = {}

    def record(self, module: nn.Module, frame: FrameType | None) -> None:
        """Remember the innermost line of user code on this stack, or else the innermost outside torch."""
        place = _creating_line(module, frame)
        if place is not None:
            self._lines.setdefault(id(module), (module, *place))

    def find(self, module: nn.Module) -> SourceLine | None:
        """Return the line that created the module, or None if it was not watched."""
        known = self._lines.get(id(module))
        return None if known is None else SourceLine(display_path(known[1]), known[2])


@contextmanager
def recording(origins: Origins) -> Iterator[None]:
    """Record the creation of every layer of a known class within the block."""
    classes = [cls for cls in norms().classes if "__init__" in vars(cls)]

    def watch(original: Any) -> Any:  # noqa: ANN401 - a constructor of any signature
        def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, N807
            origins.record(self, sys._getframe(1))
            original(self, *args, **kwargs)

        return __init__

    with ExitStack() as stack:
        for cls in classes:
            stack.enter_context(replaced(cls, "__init__", watch(cls.__init__)))
        yield


def _creating_line(module: nn.Module, frame: FrameType | None) -> tuple[str, int] | None:
    fallback: tuple[str, int] | None = None
    while frame is not None:
        code = frame.f_code
        where = whose(code.co_filename)
        if where == "bnguard" and fallback is not None:
            break
        if where in ("user", "library") and not _is_own_constructor(module, frame):
            if where == "user":
                return code.co_filename, frame.f_lineno
            fallback = fallback or (code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return fallback


def _is_own_constructor(module: nn.Module, frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_name == "__init__" and frame.f_locals.get(code.co_varnames[0]) is module


# -------------------------------------- the assignment of a layer, read from the source of the class that owns it


_CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")


def assignment_line(root: nn.Module, name: str) -> SourceLine | None:
    """Return the line ``self.attribute = …`` that gave the layer its place, or None where no source tells of it.

    Args:
        root: the model.
        name: dotted path of the layer; trailing indices belong to a Sequential or list built on that line.

    """
    parts = name.split(".")
    for cut in range(len(parts) - 1, -1, -1):
        owner, child = _at(root, parts[:cut]), _at(root, parts[: cut + 1])
        if owner is None or child is None:
            continue
        cls: Any = type(owner)  # mypy does not see that a class of modules can be hashed
        for found in _assignments(cls, parts[cut]):
            if found.fits(child):
                return SourceLine(display_path(found.file), found.line(parts[cut + 1 :]))
    return None


def line_in_function(body: list[ast.stmt], file: str, variable: str, name: str) -> SourceLine | None:
    """Return the line in a function, or a module, that built a layer of the model that this variable holds.

    Args:
        body: of the function or the module.
        file: that it is from.
        variable: such as ``net`` in ``net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))``.
        name: dotted path of the layer in that model.

    """
    for node in within(body):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == variable for t in node.targets):
            line = _line_within(node.value, name.split("."))
            if line is not None:
                return SourceLine(display_path(file), line)
    return None


def _line_within(value: ast.expr | None, parts: Sequence[str]) -> int | None:
    """Return the line of the layer that these parts name within nested containers, None where they lead elsewhere."""
    for part in parts:
        value = None if value is None else _element(value, part)
    return value.lineno if isinstance(value, ast.Call) else None


def _at(root: nn.Module, parts: Sequence[str]) -> nn.Module | None:
    try:
        return module_named(root, ".".join(parts))
    except (AttributeError, RuntimeError):  # RuntimeError: TorchScript modules refuse to be asked
        return None


@dataclass(frozen=True)
class _Assignment:
    """One statement that sets an attribute: its value, and where the file has it."""

    file: str
    first: int
    value: ast.expr
    names: Mapping[str, Any]

    def fits(self, child: nn.Module) -> bool:
        """Whether this statement can have made the child: a later one may have put another in its place."""
        if isinstance(self.value, ast.Constant):
            return False
        made = self._class_called()
        return made is None or isinstance(child, made)

    def _class_called(self) -> type | None:
        if not isinstance(self.value, ast.Call):
            return None
        found: Any = None
        for i, part in enumerate(ast.unparse(self.value.func).split(".")):
            found = getattr(found, part, None) if i else self.names.get(part)
        return found if isinstance(found, type) and issubclass(found, nn.Module) else None

    def line(self, parts: Sequence[str]) -> int:
        """Return the line of the value, or of what these parts name within it."""
        value = self.value
        for part in parts:
            inner = _element(value, part)
            if inner is None:
                break
            value = inner
        return self.first + value.lineno - 1


@lru_cache(maxsize=4096)
def _assignments(cls: Any, attribute: str) -> tuple[_Assignment, ...]:  # noqa: ANN401 - see assignment_line
    for base in cls.__mro__:
        if base.__module__.split(".")[0] in ("torch", "builtins"):
            break
        found = [a for method in vars(base).values() for a in _in_method(method, attribute)]
        if found:
            return tuple(found)
    return ()


def _in_method(method: object, attribute: str) -> Iterator[_Assignment]:
    """Read a method's own source: that is there even where its module is not known any more."""
    if not isinstance(method, FunctionType):
        return
    try:
        lines, first = inspect.getsourcelines(method)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError, IndexError):
        return
    values = [v for node in ast.walk(tree) for v in _values(node, attribute)]
    yield from (_Assignment(method.__code__.co_filename, first, v, method.__globals__) for v in values)


def _values(node: ast.AST, attribute: str) -> Iterator[ast.expr]:
    """Yield what a statement puts into the attribute."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _unpacked(target, value, attribute)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield from _unpacked(target, value, attribute)
        case ast.Call(
            func=ast.Attribute(attr="add_module" | "register_module"), args=[ast.Constant(value=name), value]
        ):
            if name == attribute:
                yield value


def _unpacked(target: ast.expr, value: ast.expr, attribute: str) -> Iterator[ast.expr]:
    if isinstance(target, ast.Attribute) and target.attr == attribute:
        yield value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for inner, its_value in zip(target.elts, value.elts, strict=False):
            yield from _unpacked(inner, its_value, attribute)


def _element(value: ast.expr, part: str) -> ast.expr | None:
    """Return the expression within ``nn.Sequential(…)`` and its kin that this index or key names."""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func).endswith(_CONTAINERS)):
        return None
    elements: list[ast.expr] = value.args
    match elements:
        case [ast.Call(func=function, args=args)] if ast.unparse(function).endswith("OrderedDict"):
            elements = args
    match elements:
        case [ast.Dict(keys=keys, values=values)]:
            pairs = zip(keys, values, strict=True)
            return next((v for k, v in pairs if isinstance(k, ast.Constant) and k.value == part), None)
        case [ast.List(elts=elts) | ast.Tuple(elts=elts)]:
            elements = elts
    return _by_index(elements, int(part)) if part.isdigit() else _by_key(elements, part)


def _by_index(elements: list[ast.expr], index: int) -> ast.expr | None:
    unclear = any(isinstance(v, (ast.Starred, ast.ListComp, ast.GeneratorExp)) for v in elements[: index + 1])
    return None if unclear or index >= len(elements) else elements[index]


def _by_key(elements: list[ast.expr], key: str) -> ast.expr | None:
    for pair in elements:
        match pair:
            case ast.Tuple(elts=[ast.Constant(value=name), value]) if name == key:
                return value
    return None
