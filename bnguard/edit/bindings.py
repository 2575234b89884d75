"""What the value of a call is bound to, and in which functions and loops the call stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnguard.edit.tree import Tree


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


def bindings(node: cst.CSTNode, tree: Tree) -> Iterator[Binding]:
    """Yield the names that a call's value gets within its statement, the nearest first.

    A value that goes through another call, ``x = iter(DataLoader(...))``, is followed to the outer name.
    """
    inner = node
    path: list[tuple[int, int]] = []  # which of how many the value is in the tuples around it, the innermost first
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


def label(call: cst.Call, tree: Tree) -> Label:
    """Return a call's name: what it is bound to, else the function that returns it, else what is called."""
    around = list(functions(call, tree))
    known = set(around)
    for binding in bindings(call, tree):
        if not binding.given_to:
            return Label(binding.text, frozenset({binding.text, *binding.names[:1], *known}))
    if around and any(isinstance(a, (cst.Return, cst.Yield)) for a in tree.ancestors(call)):
        return Label(f"{around[0]}()", frozenset(known | {f"{around[0]}()"}))
    return Label(f"{tree.code(call.func)}(...)", frozenset(known))
