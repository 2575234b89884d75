"""How many samples a dataset has, where the source says so in plain numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from bnguard.edit.literals import UNKNOWN, literal

if TYPE_CHECKING:
    from bnguard.edit.tree import Tree

_FILLED = frozenset(f"torch.{name}" for name in ("randn", "rand", "zeros", "ones", "empty"))


def known_length(dataset: cst.BaseExpression, tree: Tree) -> int | None:
    """Return the length of a dataset; None where running the code would have to tell."""
    if isinstance(dataset, cst.Name):
        value = tree.value_of(dataset)
        if value is not None:
            return known_length(value, tree)
        source = tree.unpacked_from(dataset)
        return _part(*source, tree) if source else None
    if isinstance(dataset, cst.Call):
        return _made(dataset, tree)
    return None


def _made(call: cst.Call, tree: Tree) -> int | None:
    names = tree.imported_as(call.func)
    first = call.args[0].value if call.args and not call.args[0].star else None
    if "torchvision.datasets.FakeData" in names:
        size = next((a.value for a in call.args if a.keyword and a.keyword.value == "size"), first)
        return _whole(size, tree)
    if first is None or call.args[0].keyword:
        return None
    if "torch.utils.data.TensorDataset" in names:
        return known_length(first, tree)
    if names & _FILLED:
        shape = first.elements[0].value if isinstance(first, (cst.Tuple, cst.List)) and first.elements else first
        return _whole(shape, tree)
    if isinstance(call.func, cst.Name) and call.func.value == "range" and len(call.args) == 1:
        return None if tree.assignments(call.func) else _whole(first, tree)
    return None


def _part(call: cst.BaseExpression, index: int, tree: Tree) -> int | None:
    """Return the length of one part of ``random_split(dataset, [5, 3, 2])``; fractions are not worked out."""
    if not isinstance(call, cst.Call) or "torch.utils.data.random_split" not in tree.imported_as(call.func):
        return None
    lengths = call.args[1].value if len(call.args) > 1 else None
    if not isinstance(lengths, (cst.List, cst.Tuple)) or index >= len(lengths.elements):
        return None
    parts = [_whole(element.value, tree) for element in lengths.elements]
    whole = [part for part in parts if part is not None]
    return parts[index] if len(whole) == len(parts) and sum(whole) > 1 else None  # [1, 0] counts as fractions


def _whole(expression: cst.BaseExpression | None, tree: Tree) -> int | None:
    value = literal(expression, tree) if expression is not None else UNKNOWN
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
