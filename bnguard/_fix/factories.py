"""Functions that return the loader they make, and the calls of them, in the same file and in others that are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst
from libcst import matchers as m

from bnguard._fix.calls import LoaderCall, bindings
from bnguard._fix.need import literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bnguard._fix.reading import Reading
    from bnguard._fix.tree import Tree


@dataclass(frozen=True, eq=False)
class Use:
    """A call of a function that returns a loader.

    Attributes:
        reading: the file that it stands in.
        call: the loader's call as it looks from here: with what is given for the function's parameters.
        function: the function's name.
        place: which of how many the loader is in what is returned; empty where it is all that is.

    """

    reading: Reading
    call: LoaderCall
    function: str
    place: tuple[tuple[int, int], ...]


def uses(call: LoaderCall, home: Reading, readings: Sequence[Reading]) -> list[Use]:
    """Return the calls that get this loader; none where it is not returned, or the function returns others as well."""
    returned = _returned(call.node, home.tree)
    if returned is None:
        return []
    function, place = returned
    if [_returned(other.node, home.tree) for other in home.calls].count(returned) > 1:
        return []
    name = function.name.value
    found = []
    for reading in readings:
        if name in reading.tree.text:
            calls = [c for c in reading.tree.calls if _means(c, function, reading, home)]
            found += [Use(reading, _seen_from(c, call, function, reading, home), name, place) for c in calls]
    return found


def _returned(node: cst.Call, tree: Tree) -> tuple[cst.FunctionDef, tuple[tuple[int, int], ...]] | None:
    """Return the function that returns what a call makes, and which of how many it is there."""
    function = next((a for a in tree.ancestors(node) if isinstance(a, (cst.FunctionDef, cst.Lambda))), None)
    if not isinstance(function, cst.FunctionDef):
        return None
    given_back = [x.value for x in m.findall(function.body, m.Return()) if isinstance(x, cst.Return) and x.value]
    targets = [b.target for b in bindings(node, tree) if isinstance(b.target, cst.Name)]
    names = {target.value for target in targets}
    for value in given_back:
        several = isinstance(value, (cst.Tuple, cst.List))
        elements = [e.value for e in value.elements] if isinstance(value, (cst.Tuple, cst.List)) else [value]
        for i, element in enumerate(elements):
            if element is node or (isinstance(element, cst.Name) and element.value in names):
                return function, ((i, len(elements)),) if several else ()
    return None


def _means(call: cst.Call, function: cst.FunctionDef, reading: Reading, home: Reading) -> bool:
    if reading is home:
        return reading.tree.function_of(call) is function
    if reading.tree.function_of(call) is not None or not isinstance(home.tree.parent(function), cst.Module):
        return False
    for name in reading.tree.imported_as(call.func):
        module, _, last = name.rpartition(".")
        if last == function.name.value and home.stands_for(module):
            return True
    return False


def _seen_from(
    node: cst.Call, call: LoaderCall, function: cst.FunctionDef, reading: Reading, home: Reading
) -> LoaderCall:
    """Return the loader's call with the arguments that it has where its function is called like this."""
    given, starred = _given(node, function)
    defaults = {p.name.value: p.default for p in _parameters(function)}

    def value(expression: cst.BaseExpression) -> cst.BaseExpression:
        if isinstance(expression, cst.Name) and expression.value in defaults:
            if expression.value in given:
                return given[expression.value]
            default = defaults[expression.value]
            return cst.Ellipsis() if starred or default is None else _constant(default, home.tree)
        return expression if reading is home else _constant(expression, home.tree)

    arguments = {name: value(expression) for name, expression in call.arguments.items()}
    return LoaderCall(node, call.kind, arguments, call.starred)


def _parameters(function: cst.FunctionDef) -> list[cst.Param]:
    takes = function.params
    return [*takes.posonly_params, *takes.params, *takes.kwonly_params]


def _given(call: cst.Call, function: cst.FunctionDef) -> tuple[Mapping[str, cst.BaseExpression], bool]:
    """Return what a call gives for the parameters of a function, and whether some of it is hidden behind a star."""
    names: Iterator[str] = (p.name.value for p in (*function.params.posonly_params, *function.params.params))
    if isinstance(call.func, cst.Attribute) and next(iter(_parameters(function)), None) is not None:
        names = (name for name in names if name != "self")
    given: dict[str, cst.BaseExpression] = {}
    for argument in call.args:
        if argument.star:
            return given, True
        name = argument.keyword.value if argument.keyword else next(names, None)
        if name:
            given[name] = argument.value
    return given, False


def _constant(expression: cst.BaseExpression, tree: Tree) -> cst.BaseExpression:
    """Return an expression that means the same in any file: a number, True, False or None; ``...`` for others."""
    value = literal(expression, tree)
    if value is None or isinstance(value, bool):
        return cst.Name(str(value))
    return cst.Integer(str(value)) if isinstance(value, int) else cst.Ellipsis()
