"""Whether a script's loop gathers rows of its batches; what it has gathered so far is looked at as well."""

from __future__ import annotations

import ast
import inspect
from collections import ChainMap, deque
from collections.abc import Mapping
from types import FrameType, FunctionType
from typing import Any

from torch import Tensor, nn

from bnguard._source import (
    DEEPEST,
    definition_of,
    expressions_at,
    look_up,
    loop_at,
    mentions,
    name_of,
    parsed,
    within,
)
from bnguard._usercode import whose

_KEEPING = """
append appendleft extend add insert put push store update setdefault write writerow dump
"""

_GATHERING = frozenset(_KEEPING.split())
"""Methods by which a loop keeps something of each batch for later."""

_JOINING = frozenset(["cat", "concat", "concatenate", "stack", "vstack", "hstack", "append"])
"""Functions whose result a loop keeps under the name of one of their arguments."""


def gathers(frame: FrameType | None) -> bool:
    """Return whether the script keeps rows of its batches, so that those left out are missing in what it makes of them.

    Numbers do not count, such as the losses of an epoch: no later batch is made of them.

    Args:
        frame: in which the iterator is asked for its second batch, or one below.

    """
    while frame is not None:
        tree = parsed(frame.f_code.co_filename) if whose(frame.f_code.co_filename) == "user" else None
        if tree is not None:
            names = ChainMap(frame.f_locals, frame.f_globals)
            loop = loop_at(frame, tree)
            if loop is not None and not frame.f_code.co_flags & inspect.CO_GENERATOR:
                return _keeps_rows(loop.body, names, 0)
            if loop is None and any(_holds_rows(n, names) for n in expressions_at(tree, frame.f_lineno)):
                return True
        frame = frame.f_back
    return False


def _holds_rows(node: ast.AST, names: Mapping[str, Any]) -> bool:
    """Whether this expression, in the line that asks for the batches, is a list of something of each."""
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
        return not _is_number_of(node.elt, names)
    if isinstance(node, ast.DictComp):
        return not _is_number_of(node.value, names)
    return isinstance(node, ast.Call) and name_of(node.func) in ("list", "tuple", "sorted", "dict")


def _keeps_rows(body: list[ast.stmt], names: Mapping[str, Any], depth: int) -> bool:
    return any(_is_kept(node, names, depth) for node in within(body))


def _is_kept(node: ast.AST, names: Mapping[str, Any], depth: int) -> bool:
    if isinstance(node, ast.Call):
        return _call_keeps(node, names, depth)
    if isinstance(node, ast.AugAssign):
        held = look_up(node.target, names)
        return isinstance(held, list) and not (_are_numbers(held) if held else _is_number_of(node.value, names))
    if not isinstance(node, ast.Assign):
        return False
    stored = [look_up(t.value, names) for t in node.targets if isinstance(t, ast.Subscript)]
    if any(isinstance(x, dict) and not (_are_numbers(x) if x else _is_number_of(node.value, names)) for x in stored):
        return True
    own = {ast.unparse(t) for t in node.targets if isinstance(t, (ast.Name, ast.Attribute))}
    return any(
        isinstance(n, ast.Call) and name_of(n.func) in _JOINING and mentions(n, own) for n in ast.walk(node.value)
    )


def _call_keeps(node: ast.Call, names: Mapping[str, Any], depth: int) -> bool:
    if isinstance(node.func, ast.Attribute) and node.func.attr in _GATHERING:
        held = look_up(node.func.value, names)
        if isinstance(held, (list, set, dict, deque)) and held:
            return not _are_numbers(held)
        given = [*node.args, *(k.value for k in node.keywords)]
        return not all(_is_number_of(a, names) for a in given)
    called = look_up(node.func, names)
    function = getattr(called, "__func__", called)
    if not isinstance(function, FunctionType) or depth >= DEEPEST or function.__name__ == "forward":
        return False
    tree = parsed(function.__code__.co_filename) if whose(function.__code__.co_filename) == "user" else None
    defined = None if tree is None else definition_of(tree, function)
    inner = {"self": getattr(called, "__self__", None)}
    return defined is not None and _keeps_rows(defined.body, ChainMap(inner, function.__globals__), depth + 1)


def _is_number_of(node: ast.expr, names: Mapping[str, Any]) -> bool:
    """Whether an expression is a number, a text or a model, which no batch can be made of."""
    if isinstance(node, (ast.Constant, ast.JoinedStr, ast.Compare)):
        return True
    if isinstance(node, (ast.Tuple, ast.List)):
        return all(_is_number_of(n, names) for n in node.elts)
    if isinstance(node, ast.BinOp):
        return _is_number_of(node.left, names) and _is_number_of(node.right, names)
    if isinstance(node, ast.Call):
        return name_of(node.func) in ("item", "float", "int", "len", "size", "numel", "round", "format", "state_dict")
    value = look_up(node, names)
    return value is not None and _are_numbers(value)


def _are_numbers(value: object) -> bool:
    """Whether a value holds no rows; of containers the latest items are looked at."""
    if isinstance(value, Tensor):
        return value.dim() == 0
    if isinstance(value, Mapping):
        return all(map(_are_numbers, list(value.values())[-4:]))
    if isinstance(value, (list, tuple, set, deque)):
        return all(map(_are_numbers, list(value)[-4:]))
    return isinstance(value, (int, float, complex, str, nn.Module)) or value is None
