"""Which models a file can build without being told how: instances, factories, classes."""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FunctionType, ModuleType
from typing import Any, Literal

from torch import nn

from bnguard._errors import BnguardError, TargetError
from bnguard._models.build import Construction
from bnguard._models.guess import accepts, parameters, required, set_line
from bnguard._models.named import Built, attempt, build_named, unknown_setting
from bnguard._targets import Target, environment, import_module
from bnguard._untouched import quiet


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


def _is_model_instance(name: str, value: object) -> bool:
    if name.startswith("_") or not isinstance(value, nn.Module):
        return False
    # a loss or an activation at module level is a module too, but not what the user means
    home, container = type(value).__module__, isinstance(value, (nn.Sequential, nn.ModuleList))
    plain = home.startswith("torch.nn.modules") and not container and next(value.parameters(), None) is None
    return not plain and not home.endswith(".loss")


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
    returned = _annotated(function)
    if returned is not None:
        return issubclass(returned, nn.Module)
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
        returned = _annotated(value)  # torchvision.models.resnet18 and its kin say what they return
        return returned is not None and issubclass(returned, nn.Module)


def _looked_up(node: ast.expr | None, names: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any object of the user's file
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_looked_up(node.value, names), node.attr, None)
    return None


def _annotated(function: Any) -> type | None:  # noqa: ANN401 - any object
    """Return the class that a function says it returns, or None where it names none."""
    returned = getattr(function, "__annotations__", {}).get("return")
    if isinstance(returned, str):  # from __future__ import annotations
        try:
            tree = ast.parse(returned, mode="eval").body
        except (SyntaxError, ValueError):
            return None
        returned = _looked_up(tree, {**vars(builtins), **getattr(function, "__globals__", {})})
    return returned if isinstance(returned, type) else None


# -------------------------------------------- building every root model of a file: those that are not a part of another


def _build_roots(
    target: Target, module: ModuleType, construction: Construction, settings: Mapping[str, Any]
) -> list[Built]:
    """Build what the file offers: instances, then factories, then the classes that these did not make.

    The settings go to every class and factory that has an argument of that name.

    Raises:
        BnguardError: there is no model, or none can be built; the message lists what each needs.

    """
    offered = candidates(module)
    if not offered:
        raise _no_model(target, module)
    _check_settings(target, offered, settings)
    built: list[Built] = []
    failures: list[tuple[Candidate, BnguardError]] = []
    incomplete: list[Candidate] = []
    for candidate in offered:
        if candidate.kind == "class" and _is_made(candidate, built):
            continue
        if set(candidate.missing) - set(settings):
            incomplete.append(candidate)
            continue
        try:
            built.append(_build(candidate, target, module, construction, settings))
        except BnguardError as error:
            failures.append((candidate, error))
    roots = _without_parts(built)
    if not roots and failures:
        raise failures[0][1]
    if not roots:
        lines = [f"  {c.name}({', '.join(c.missing)}):  {_command(target, c)}" for c in offered]
        raise TargetError(
            f"no model in {target.place} can be built without arguments",
            hint="give them; the candidates are\n" + "\n".join(lines),
        )
    roots[0].notes += _left_out(target, failures, [c for c in incomplete if not _is_made(c, built)])
    return roots


def _no_model(target: Target, module: ModuleType) -> TargetError:
    def is_maker(value: object) -> bool:
        made = value if isinstance(value, type) else _annotated(value)
        library = str(getattr(value, "__module__", "")).startswith("torch.nn")
        return made is not None and issubclass(made, nn.Module) and not library

    # model classes and factories that the file imports: perhaps its user means one of them
    names = [n for n, v in vars(module).items() if not n.startswith("_") and is_maker(v)]
    hint = f"name one that it imports: {', '.join(f'{target.place}:{n}' for n in names[:4])}"
    return TargetError(
        f"{target.place} has no model{' of its own' if names else ''}: no nn.Module instance, class or factory",
        hint=hint if names else f"name the object that is or builds one, such as {target.place}:build_model",
    )


def _check_settings(target: Target, offered: list[Candidate], settings: Mapping[str, Any]) -> None:
    makers = [c.value for c in offered if c.kind != "instance"]
    for name in settings:
        if not any(accepts(maker, name) for maker in makers):
            known = dict.fromkeys(n for maker in makers for n in parameters(maker))
            raise unknown_setting(f"no model in {target.place}", name, list(known))


def _build(
    candidate: Candidate, target: Target, module: ModuleType, construction: Construction, settings: Mapping[str, Any]
) -> Built:
    one = replace(target, text=f"{target.place}:{candidate.name}", expression=candidate.name)
    takes_any = candidate.kind != "instance"
    wanted = {k: v for k, v in settings.items() if takes_any and accepts(candidate.value, k)}
    return build_named(one, module, construction, wanted)


def _is_made(candidate: Candidate, built: list[Built]) -> bool:
    """Whether an instance or a factory already gave a model of this class, or one that contains it."""
    return any(type(m) is candidate.value for b in built for m in b.model.modules())


def _without_parts(built: list[Built]) -> list[Built]:
    """Leave out what is only a part of another model that was found: the same object, or a class of this file."""
    inside = [m for b in built for m in b.model.modules() if m is not b.model]
    parts, classes = {id(m) for m in inside}, {type(m) for m in inside}
    kept: dict[int, Built] = {}
    for one in built:
        kind = type(one.model)
        is_part = id(one.model) in parts or (kind in classes and kind.__module__ == one.namespace.get("__name__"))
        if not is_part:
            kept.setdefault(id(one.model), one)  # an object with two names is one model
    return list(kept.values()) or built


def _left_out(target: Target, failures: list[tuple[Candidate, BnguardError]], incomplete: list[Candidate]) -> list[str]:
    notes = [f"{c.name} could not be built and is left out: {error.message}" for c, error in failures]
    if incomplete:
        names = ", ".join(f"{c.name}({', '.join(c.missing)})" for c in incomplete)
        notes.append(f"not scanned, as they need arguments: {names}; for example {_command(target, incomplete[0])}")
    return notes


def _command(target: Target, candidate: Candidate) -> str:
    return f"bnguard scan {target.place}:{candidate.name} {set_line(candidate.value, candidate.missing)}"


# ---------------------------------------------------------------------------------- from a target to built models


@contextmanager
def models_of(
    target: Target,
    *,
    settings: Mapping[str, Any] | None = None,
    argv: Sequence[str] = (),
    stubs: Sequence[str] = (),
) -> Iterator[list[Built]]:
    """Build every model the target names; the user's import paths stay in place within the block.

    ``settings`` are constructor arguments by name, ``argv`` becomes ``sys.argv[1:]`` of the user's file, and the
    packages in ``stubs`` are replaced by stand-ins.

    Raises:
        BnguardError: nothing can be built; the message says what is missing.

    """
    with environment(target, argv=argv, stubs=stubs), quiet():
        module, construction = attempt(lambda: import_module(target), target)
        if target.expression is not None:
            yield [build_named(target, module, construction, settings or {})]
        else:
            yield _build_roots(target, module, construction, settings or {})
