"""What models a folder's source can make, for ``bnguard check --init``: classes and factories, by file and name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_ROOTS = {"Module", "LightningModule", "Sequential"}
_NO_MODELS = ("Loss", "Criterion", "Metric")
_TRAINING = {"backward", "zero_grad", "fit", "fit_one_cycle"}
_GIVE_ITSELF = {"to", "cuda", "cpu", "train", "eval", "half", "double", "float", "bfloat16", "requires_grad_"}
_MAKERS = ("torchvision.models.", "timm.create_model", "segmentation_models_pytorch.")
"""What the whole names of functions of others begin with that make models."""

Key = tuple[str, str]
"""A file and a name in it."""


@dataclass(frozen=True)
class FoundModel:
    """A class that is no part of another, or a function that returns a model.

    Attributes:
        file: where.
        line: where.
        name: of the class or function.
        needs: the arguments that it cannot be called without.
        classes: the names of classes that say whose model it is: its own, or that of what it returns.

    """

    file: str
    line: int
    name: str
    needs: tuple[str, ...]
    classes: frozenset[str]


def find_models(trees: Mapping[str, ast.Module]) -> Iterator[FoundModel]:
    """Yield factories and classes, file by file; a class that a factory makes by itself is not needed beside it."""
    classes = _Classes(trees)
    for file, tree in trees.items():
        factories = list(_factories(file, tree, classes))
        yield from factories
        made = {name for f in factories if not f.needs for name in f.classes}
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name not in made and classes.is_whole(file, node):
                lineage = list(classes.lineage(file, node))
                yield FoundModel(file, node.lineno, node.name, _needs_of_class(lineage), frozenset({node.name}))


class _Classes:
    """The classes of all files: two of one name in two files are two."""

    def __init__(self, trees: Mapping[str, ast.Module]) -> None:
        found = [(f, n) for f, tree in trees.items() for n in tree.body if isinstance(n, ast.ClassDef)]
        self._by_key: dict[Key, ast.ClassDef] = {(file, node.name): node for file, node in found}
        self._files: dict[str, list[str]] = {}
        for file, name in self._by_key:
            self._files.setdefault(name, []).append(file)
        self._imports = {file: _imported(tree) for file, tree in trees.items()}
        models = [(file, node) for file, node in found if self.is_model(file, node)]
        uses = (((file, node.name), self._key(file, name)) for file, node in models for name in names_in(node.body))
        self._parts = {used for user, used in uses if used != user}

    def _key(self, file: str, name: str) -> Key | None:
        """Return which class a name means in a file: its own, else the one that the file imports."""
        if (file, name) in self._by_key:
            return file, name
        original, module = self._imports[file].get(name, (name, ""))
        others = self._files.get(original, ())
        last = module.rpartition(".")[2]
        by_import = [other for other in others if last and other.removesuffix(".py").split("/")[-1] == last]
        near = by_import or list(others)
        return (near[0], original) if near else None

    def whole_name(self, file: str, node: ast.expr) -> str:
        """Return a dotted name with what its first part is imported from: ``torchvision.models.resnet18``."""
        first, dot, rest = ast.unparse(node).partition(".")
        original, module = self._imports[file].get(first, (first, ""))
        return f"{module}.{original}{dot}{rest}" if module else f"{original}{dot}{rest}"

    def get(self, file: str, name: str) -> tuple[str, ast.ClassDef] | None:
        """Return the class that a name means in a file, with the file that defines it."""
        key = self._key(file, name)
        return (key[0], self._by_key[key]) if key is not None else None

    def lineage(self, file: str, node: ast.ClassDef) -> Iterator[ast.ClassDef]:
        """Yield a class and those of the folder that it derives from, each once."""
        seen: set[int] = set()
        waiting = [(file, node)]
        while waiting:
            where, one = waiting.pop(0)
            if id(one) not in seen:
                seen.add(id(one))
                yield one
                bases = (self.get(where, last_name(base)) for base in one.bases)
                waiting += [base for base in bases if base is not None]

    def is_model(self, file: str, node: ast.ClassDef) -> bool:
        """Whether a class derives from a module of torch's or Lightning's."""
        return any(last_name(base) in _ROOTS for one in self.lineage(file, node) for base in one.bases)

    def is_whole(self, file: str, node: ast.ClassDef) -> bool:
        """Whether it is a model that is no part of another, and can be called."""
        callable_ = any(_method(one, "forward") for one in self.lineage(file, node))
        wanted = (file, node.name) not in self._parts and not node.name.endswith(_NO_MODELS)
        return wanted and callable_ and self.is_model(file, node)


def _imported(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Return what each imported name is called at home, and in which module."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {a.asname or a.name: (a.name, node.module or "") for node in nodes for a in node.names}


def _factories(file: str, tree: ast.Module, classes: _Classes) -> Iterator[FoundModel]:
    """Yield the functions that return a model, by their annotation or their return statements, as a scan does."""
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    made: dict[str, frozenset[str]] = {}
    while True:  # a factory may return what another factory makes
        new = {f.name: found for f in functions if f.name not in made and (found := _returned(file, f, classes, made))}
        if not new:
            break
        made |= new
    for function in functions:
        if function.name in made and not function.name.startswith("_"):
            yield FoundModel(file, function.lineno, function.name, _needs(function.args), made[function.name])


def _returned(
    file: str, function: ast.FunctionDef, classes: _Classes, known: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    """Return the names of the classes that a function returns a model of; none where it returns no model, or trains."""
    if any(isinstance(n, ast.Attribute) and n.attr in _TRAINING for n in ast.walk(function)):
        return frozenset()

    def makes(node: ast.expr | None) -> frozenset[str]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _GIVE_ITSELF:
            return makes(node.func.value)
        if isinstance(node, ast.Name):
            return named.get(node.id, frozenset())
        name = last_name(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and name in known:
            return known[name]
        meant = classes.get(file, name)
        is_model = name == "Sequential" or (meant is not None and classes.is_model(*meant))
        if isinstance(node, ast.Call) and classes.whole_name(file, node.func).startswith(_MAKERS):
            return frozenset({name})
        return frozenset({name}) if is_model else frozenset()

    named: dict[str, frozenset[str]] = {}
    nodes = list(ast.walk(function))
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and makes(node.value):
            named[node.targets[0].id] = makes(node.value)
    found = frozenset(name for n in nodes if isinstance(n, ast.Return) for name in makes(n.value))
    says = last_name(function.returns) if function.returns is not None else ""
    return found or (frozenset({says}) if says in _ROOTS else frozenset())


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((x for x in node.body if isinstance(x, ast.FunctionDef) and x.name == name), None)


def _needs_of_class(lineage: Sequence[ast.ClassDef]) -> tuple[str, ...]:
    init = next((found for node in lineage if (found := _method(node, "__init__"))), None)
    return _needs(init.args, bound=1) if init is not None else ()


def _needs(arguments: ast.arguments, bound: int = 0) -> tuple[str, ...]:
    plain = [*arguments.posonlyargs, *arguments.args][bound:]
    plain = plain[: max(0, len(plain) - len(arguments.defaults))]
    named = [a for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is None]
    return tuple(a.arg for a in (*plain, *named))


def names_in(body: Sequence[ast.stmt]) -> set[str]:
    """Return all names in some statements, of dotted ones the last part."""
    return {last_name(n) for s in body for n in ast.walk(s) if isinstance(n, (ast.Name, ast.Attribute))}


def last_name(node: ast.AST) -> str:
    """Return the last part of a dotted name, or nothing for anything else."""
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
