"""Which models a file can build without being told how: instances, factories, classes."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, Literal

from torch import nn


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
    functions that merely might are not called, since they could train or download.
    """
    names = vars(module)
    instances = [Candidate(n, "instance", v, ()) for n, v in names.items() if _is_model_instance(n, v)]
    own = {n: v for n, v in names.items() if getattr(v, "__module__", None) == module.__name__}
    classes = [Candidate(n, "class", v, _required(v.__init__)) for n, v in own.items() if _is_model_class(v)]
    makers = _factories({n: v for n, v in own.items() if isinstance(v, FunctionType)}, names)
    factories = [Candidate(n, "factory", f, _required(f, bound=False)) for n, f in makers]
    return [*instances, *factories, *classes]


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
    return getattr(value.forward, "__name__", "") != "_forward_unimplemented"


def _required(function: Callable[..., Any], *, bound: bool = True) -> tuple[str, ...]:
    try:
        parameters = list(inspect.signature(function).parameters.values())[1 if bound else 0 :]
    except (TypeError, ValueError):
        return ()
    plain = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    return tuple(p.name for p in parameters if p.default is p.empty and p.kind in plain)


def _factories(functions: dict[str, FunctionType], names: dict[str, Any]) -> Iterator[tuple[str, FunctionType]]:
    known: set[str] = set()
    pending = dict(functions)
    while True:  # a factory may return what another factory makes
        found = [n for n, f in pending.items() if _returns_model(f, names, known)]
        if not found:
            break
        known.update(found)
        for name in found:
            del pending[name]
    yield from ((n, f) for n, f in functions.items() if n in known and not n.startswith("_"))


def _returns_model(function: FunctionType, names: dict[str, Any], known: set[str]) -> bool:
    annotation = function.__annotations__.get("return")
    if isinstance(annotation, str):
        annotation = names.get(annotation)
    if isinstance(annotation, type):
        return issubclass(annotation, nn.Module)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return False
    made = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _makes_model(node.value, names, known)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    returned = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    return any(
        _makes_model(value, names, known) or (isinstance(value, ast.Name) and value.id in made) for value in returned
    )


def _makes_model(node: ast.expr, names: dict[str, Any], known: set[str]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    try:
        path = ast.unparse(node.func).split(".")
    except ValueError:
        return False
    if path[0] in known and len(path) == 1:
        return True
    value: Any = names.get(path[0])
    for part in path[1:]:
        value = getattr(value, part, None)
    if isinstance(value, type):
        return issubclass(value, nn.Module)
    # torchvision.models.resnet18 and its kin say what they return
    annotation = getattr(value, "__annotations__", {}).get("return")
    return isinstance(annotation, type) and issubclass(annotation, nn.Module)
