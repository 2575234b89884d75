"""Values that the source spells out, looked through names that are bound once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

if TYPE_CHECKING:
    from bnguard.edit.tree import Tree


class Unknown:
    """The value of an expression that only running the code would tell."""


UNKNOWN = Unknown()

_CONSTANTS = {"True": True, "False": False, "None": None}


def literal(expression: cst.BaseExpression, tree: Tree) -> int | Unknown | None:
    """Return a whole number, True, False or None that an expression stands for; ``UNKNOWN`` for anything else."""
    seen: set[cst.BaseExpression] = set()
    while isinstance(expression, cst.Name) and expression.value not in _CONSTANTS and expression not in seen:
        seen.add(expression)
        value = tree.value_of(expression)
        if value is None:
            return UNKNOWN
        expression = value
    if isinstance(expression, cst.Name):
        return _CONSTANTS.get(expression.value, UNKNOWN)
    return expression.evaluated_value if isinstance(expression, cst.Integer) else UNKNOWN
