"""The ``DataLoader(...)`` calls of a file, by what the name means there, and what their values are bound to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst
from libcst import matchers as m
from libcst import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bnguard._fix.tree import Tree


_TORCH = (
    "dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "num_workers", "collate_fn", "pin_memory",
    "drop_last",
)  # fmt: skip
_GEOMETRIC = ("dataset", "batch_size", "shuffle")

_LOADERS: Mapping[str, tuple[str, ...]] = {
    "torch.utils.data.DataLoader": _TORCH,
    "torch.utils.data.dataloader.DataLoader": _TORCH,
    "torch_geometric.loader.DataLoader": _GEOMETRIC,
    "torch_geometric.data.DataLoader": _GEOMETRIC,
}
"""The classes, and the parameters that can be given by position."""

_STARRED = {name.rpartition(".")[0]: positions for name, positions in _LOADERS.items()}
"""Modules that bring ``DataLoader`` through ``from … import *``."""


@dataclass(frozen=True)
class Kind:
    """What a name stands for that makes loaders.

    Attributes:
        positions: names of the parameters, as they can be given by position.
        own_init: it is a class of the file with an ``__init__`` of its own, whose arguments may mean anything.
        certain: it is nothing else as well; False for a name that the file binds twice, once to something else.

    """

    positions: tuple[str, ...]
    own_init: bool = False
    certain: bool = True


@dataclass(frozen=True, eq=False)
class LoaderCall:
    """One call that makes a loader.

    Attributes:
        node: the call.
        kind: what is called.
        arguments: by parameter name; those hidden in ``*args`` and ``**kwargs`` are missing.
        starred: what may hide more arguments, as it is written: ``**kwargs``.

    """

    node: cst.Call
    kind: Kind
    arguments: Mapping[str, cst.BaseExpression]
    starred: tuple[str, ...]


def find_calls(tree: Tree) -> list[LoaderCall]:
    """Return the calls that make a DataLoader, in the order in which they start."""
    if "DataLoader" not in tree.text:  # not even an import: the metadata need not be worked out
        return []
    kinds = _Kinds(tree)
    found = ((node, kinds.of(node.func)) for node in tree.calls)
    return [LoaderCall(node, kind, *_arguments(node, kind, tree)) for node, kind in found if kind is not None]


def _bases(definition: cst.ClassDef) -> Iterator[cst.BaseExpression]:
    for argument in definition.bases:
        if not argument.star:
            yield argument.value


class _Kinds:
    """What the names of one file stand for."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.starred = next((_STARRED[name] for name in tree.star_imports if name in _STARRED), None)
        self._looking_at: set[cst.CSTNode] = set()

    def of(self, function: cst.BaseExpression) -> Kind | None:
        """Return what an expression stands for, None where it makes no loader."""
        if isinstance(function, cst.Subscript):  # DataLoader[Batch](...)
            function = function.value
        if isinstance(function, cst.Name):
            return self._of_name(function)
        if isinstance(function, cst.Attribute):
            return _imported(self.tree.imported_as(function))
        return None

    def _of_name(self, name: cst.Name) -> Kind | None:
        assignments = self.tree.assignments(name)
        if not assignments:
            return Kind(self.starred) if self.starred and name.value == "DataLoader" else None
        others = [a for a in assignments if a.node not in self._looking_at]  # class DataLoader(DataLoader)
        kinds = [self._of_assignment(name.value, assignment) for assignment in others]
        known = [kind for kind in kinds if kind is not None]
        if not known:
            return None
        certain = len(known) == len(kinds) and all(kind.certain for kind in known)
        return Kind(known[0].positions, any(kind.own_init for kind in known), certain)

    def _of_assignment(self, name: str, assignment: metadata.Assignment) -> Kind | None:
        if isinstance(assignment, metadata.ImportAssignment):
            return _imported({found.name for found in assignment.get_qualified_names_for(name)})
        node = assignment.node
        self._looking_at.add(node)
        try:
            if isinstance(node, cst.ClassDef):
                return self._of_class(node)
            parent = self.tree.parent(node)
            statement = self.tree.parent(parent) if isinstance(parent, cst.AssignTarget) else None
            return self.of(statement.value) if isinstance(statement, cst.Assign) else None
        finally:
            self._looking_at.discard(node)

    def _of_class(self, definition: cst.ClassDef) -> Kind | None:
        for base in _bases(definition):
            kind = self.of(base)
            if kind is not None:
                own = any(m.matches(x, m.FunctionDef(name=m.Name("__init__"))) for x in definition.body.body)
                return Kind(kind.positions, kind.own_init or own, kind.certain)
        return None


def _imported(names: set[str]) -> Kind | None:
    known = [_LOADERS[name] for name in sorted(names) if name in _LOADERS]
    return Kind(known[0], certain=len(known) == len(names)) if known else None


def _arguments(call: cst.Call, kind: Kind, tree: Tree) -> tuple[Mapping[str, cst.BaseExpression], tuple[str, ...]]:
    given: dict[str, cst.BaseExpression] = {}
    starred: list[str] = []
    positions = iter(kind.positions)
    for argument in call.args:
        if argument.star:
            starred.append(argument.star + tree.code(argument.value))
            positions = iter(())
        elif argument.keyword:
            given[argument.keyword.value] = argument.value
        else:
            name = next(positions, None)
            if name:
                given[name] = argument.value
    return given, tuple(starred)


@dataclass(frozen=True, eq=False)
class Binding:
    """One name that a value gets, or a function that it is given to.

    Attributes:
        text: as it is written: ``self.val_dl``, ``loaders["train"]``, ``evaluate``.
        names: the words in it that say something, the most telling first: ``train``, then ``loaders``.
        target: of an assignment; None for a dict's key, a keyword, a parameter, a function.
        given_to: it is the function that the value is given to.

    """

    text: str
    names: tuple[str, ...]
    target: cst.BaseExpression | None = None
    given_to: bool = False


def bindings(node: cst.CSTNode, tree: Tree, place: tuple[tuple[int, int], ...] = ()) -> Iterator[Binding]:
    """Yield the names that a call's value gets within its statement, the nearest first.

    A value that goes through another call, ``x = iter(DataLoader(...))``, is followed to the outer name. Of a function
    that returns several values, ``place`` says which of how many is meant.
    """
    inner = node
    path = list(place)  # which of how many the value is in the tuples around it, the innermost first
    for around in tree.ancestors(node):
        if isinstance(around, (cst.BaseSmallStatement, cst.BaseCompoundStatement)):
            yield from _assigned(around, path, tree)
            return
        if isinstance(around, (cst.Tuple, cst.List)):
            path.append((list(around.elements).index(inner), len(around.elements)))  # type: ignore[arg-type]
        elif isinstance(around, cst.Call) and isinstance(inner, cst.Arg):
            if len(around.args) > 1:  # model, loader = accelerator.prepare(model, DataLoader(...))
                path.append((around.args.index(inner), len(around.args)))
            if not inner.keyword:
                names = tuple(words(around.func))[:1]
                yield Binding(tree.code(around.func), names, given_to=True)
        else:
            yield from _within(around, inner, tree)
        inner = around


def _within(around: cst.CSTNode, inner: cst.CSTNode, tree: Tree) -> Iterator[Binding]:
    if isinstance(around, cst.Arg) and around.keyword:
        yield Binding(around.keyword.value, (around.keyword.value,))
    elif isinstance(around, cst.DictElement) and around.value is inner:
        key = literal_text(around.key)
        if key is not None:
            yield Binding(tree.code(around.key), (key,))
    elif isinstance(around, cst.NamedExpr):
        yield _target(around.target, tree)
    elif isinstance(around, cst.Param):
        yield Binding(around.name.value, (around.name.value,))


def _assigned(statement: cst.CSTNode, path: list[tuple[int, int]], tree: Tree) -> Iterator[Binding]:
    targets: list[cst.BaseExpression] = []
    if isinstance(statement, cst.Assign):
        targets = [t.target for t in statement.targets]
    elif isinstance(statement, cst.AnnAssign):
        targets = [statement.target]
    for target in targets:
        place = _unpacked(target, path)
        if place is not None:
            yield _target(place, tree)


def _unpacked(target: cst.BaseExpression, path: list[tuple[int, int]]) -> cst.BaseExpression | None:
    """Follow ``a, (b, c) = x, (DataLoader(...), y)`` down to ``b``; stop where the target is one name."""
    for index, count in reversed(path):
        if not isinstance(target, (cst.Tuple, cst.List)):
            return target
        if len(target.elements) != count or any(isinstance(e, cst.StarredElement) for e in target.elements):
            return None
        target = target.elements[index].value
    return None if isinstance(target, (cst.Tuple, cst.List)) else target


def _target(target: cst.BaseExpression, tree: Tree) -> Binding:
    return Binding(tree.code(target), tuple(words(target)), target)


def words(expression: cst.BaseExpression) -> Iterator[str]:
    """Yield the names in ``self.data["train"]`` that say what it is, the last first: ``train``, ``data``."""
    if isinstance(expression, cst.Name):
        yield expression.value
    elif isinstance(expression, cst.Attribute):
        yield expression.attr.value
        yield from words(expression.value)
    elif isinstance(expression, cst.Subscript):
        index = expression.slice[0].slice if len(expression.slice) == 1 else None
        key = literal_text(index.value) if isinstance(index, cst.Index) else None
        if key is not None:
            yield key
        yield from words(expression.value)


def literal_text(expression: cst.BaseExpression) -> str | None:
    """Return the text of a string literal, None for anything else."""
    if not isinstance(expression, (cst.SimpleString, cst.ConcatenatedString)):
        return None
    value = expression.evaluated_value
    return value if isinstance(value, str) else None


def functions(node: cst.CSTNode, tree: Tree) -> Iterator[str]:
    """Yield the names of the functions around a node, the innermost first."""
    for around in tree.ancestors(node):
        if isinstance(around, cst.FunctionDef):
            yield around.name.value


@dataclass(frozen=True)
class Label:
    """What to call a call: a text for people, and the words that mean it on a command line."""

    text: str
    words: frozenset[str]


def label(call: cst.Call, tree: Tree, place: tuple[tuple[int, int], ...] = ()) -> Label:
    """Return a call's name: what it is bound to, else the function that returns it, else what is called."""
    around = list(functions(call, tree))
    known = set(around)
    for binding in bindings(call, tree, place):
        if not binding.given_to:
            return Label(binding.text, frozenset({binding.text, *binding.names[:1], *known}))
    if around and any(isinstance(a, (cst.Return, cst.Yield)) for a in tree.ancestors(call)):
        return Label(f"{around[0]}()", frozenset(known | {f"{around[0]}()"}))
    return Label(f"{tree.code(call.func)}(...)", frozenset(known))
