"""Which models a file can build without being told how: instances, factories, classes."""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, Literal

from torch import nn

from bnguard.model.signature import required


@dataclass(frozen=True)
class Candidate:
    """A name in the user's file that is, or may build, a model."""

    name: str
    kind: Literal["instance", "factory", "class"]
    value: Any
    missing: tuple[str, ...]
    """Arguments without defaults."""


def candidates(module: ModuleType) -> list[Candidate]:
    """Return what a module offers: instances first, then factories, then classes, each in order of definition.

    A function counts as a factory when its annotation or its return statements say that it gives an nn.Module;
    functions that merely might, or that train as well, are not called.
    """
    names = vars(module)
    instances = [Candidate(n, "instance", v, ()) for n, v in names.items() if _is_model_instance(n, v)]
    own = {n: v for n, v in names.items() if getattr(v, "__module__", None) == module.__name__}
    classes = [Candidate(n, "class", v, required(v)) for n, v in own.items() if _is_model_class(v)]
    makers = _factories({n: v for n, v in own.items() if isinstance(v, FunctionType)}, names)
    factories = [Candidate(n, "factory", f, required(f)) for n, f in makers]
    return [*instances, *factories, *classes]


def imported_makers(module: ModuleType) -> list[str]:
    """Return the names of model classes and factories that a file imports: perhaps its user means one of them."""

    def is_maker(value: object) -> bool:
        made = value if isinstance(value, type) else _annotated(value)
        library = str(getattr(value, "__module__", "")).startswith("torch.nn")
        return made is not None and issubclass(made, nn.Module) and not library

    return [n for n, v in vars(module).items() if not n.startswith("_") and is_maker(v)]


def _is_model_instance(name: str, value: object) -> bool:
    if name.startswith("_") or not isinstance(value, nn.Module):
        return False
    # a loss or an activation at module level is a module too, but not what the user means
    plain = type(value).__module__.startswith("torch.nn.modules") and not isinstance(
        value, (nn.Sequential, nn.ModuleList)
    )
    return not (plain and next(value.parameters(), None) is None) and not type(value).__module__.endswith(".loss")


def _is_model_class(value: object) -> bool:
    if not (isinstance(value, type) and issubclass(value, nn.Module)) or inspect.isabstract(value):
        return False
    return value.forward is not nn.Module.forward


def _factories(functions: dict[str, FunctionType], names: dict[str, Any]) -> Iterator[tuple[str, FunctionType]]:
    bodies = {n: body for n, f in functions.items() if (body := _Body.of(f)) is not None}
    known: set[str] = set()
    while True:  # a factory may return what another factory makes
        found = {n for n, f in functions.items() if n not in known and _returns_model(f, bodies.get(n), names, known)}
        if not found:
            break
        known |= found
    yield from ((n, f) for n, f in functions.items() if n in known and not n.startswith("_"))


def _returns_model(function: FunctionType, body: _Body | None, names: dict[str, Any], known: set[str]) -> bool:
    if body is not None and body.trains:
        return False
    said = _annotated(function)
    if said is not None:
        return issubclass(said, nn.Module)
    return body is not None and _Reader(names, known).returns_model(body)


_TRAINING = frozenset({"backward", "zero_grad", "fit", "fit_one_cycle"})


class _Body:
    """The statements of a function, without those of functions within it."""

    def __init__(self, tree: ast.AST) -> None:
        nodes = list(_own_nodes(tree))
        self.returned = [n.value for n in nodes if isinstance(n, ast.Return) and n.value is not None]
        self.assigned = [
            (target.id, n.value)
            for n in nodes
            if isinstance(n, (ast.Assign, ast.AnnAssign)) and n.value is not None
            for target in (n.targets if isinstance(n, ast.Assign) else [n.target])
            if isinstance(target, ast.Name)
        ]
        self.trains = any(isinstance(n, ast.Attribute) and n.attr in _TRAINING for n in nodes)

    @classmethod
    def of(cls, function: FunctionType) -> _Body | None:
        """Read a function's source; None where there is none, and for a lambda or a coroutine."""
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        except (OSError, SyntaxError, TypeError, IndexError):
            return None
        return cls(tree) if isinstance(tree, ast.FunctionDef) else None


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield child
            yield from _own_nodes(child)


_GIVE_ITSELF = frozenset({"to", "cuda", "cpu", "eval", "train", "float", "half", "double", "requires_grad_", "apply"})
"""Methods of nn.Module that return the module."""


@dataclass(frozen=True)
class _Reader:
    """Reads whether an expression makes a model, with the names of the file and its known factories."""

    names: Mapping[str, Any]
    known: set[str]

    def returns_model(self, body: _Body) -> bool:
        made: set[str] = set()
        for name, value in body.assigned:
            if self._makes(value, made):
                made.add(name)
        return any(self._makes(value, made) for value in body.returned)

    def _makes(self, node: ast.expr, made: set[str]) -> bool:
        if isinstance(node, ast.Name):
            return node.id in made
        if isinstance(node, ast.IfExp):
            return self._makes(node.body, made) or self._makes(node.orelse, made)
        if not isinstance(node, ast.Call):
            return False
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in _GIVE_ITSELF:
            return self._makes(function.value, made)
        return self._is_maker(function)

    def _is_maker(self, function: ast.expr) -> bool:
        if isinstance(function, ast.Name) and function.id in self.known:
            return True
        value = _looked_up(function, self.names)
        if isinstance(value, type):
            return issubclass(value, nn.Module)
        if inspect.ismethod(value) and isinstance(value.__self__, type):
            return issubclass(value.__self__, nn.Module)  # Net.from_name("b0")
        # torchvision.models.resnet18 and its kin say what they return
        said = _annotated(value)
        return said is not None and issubclass(said, nn.Module)


def _looked_up(node: ast.expr | None, names: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any object of the user's file
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_looked_up(node.value, names), node.attr, None)
    return None


def _annotated(function: Any) -> type | None:  # noqa: ANN401 - any object
    """Return the class that a function says it returns, or None where it names none."""
    said = getattr(function, "__annotations__", {}).get("return")
    if isinstance(said, str):  # from __future__ import annotations
        try:
            tree = ast.parse(said, mode="eval").body
        except (SyntaxError, ValueError):
            return None
        said = _looked_up(tree, {**vars(builtins), **getattr(function, "__globals__", {})})
    return said if isinstance(said, type) else None
