"""The user's source: what stands around the line a frame is at, what its names stand for, which functions it calls."""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from types import CodeType, FrameType, FunctionType
from typing import Any

PLACES = (ast.Name, ast.Attribute, ast.Subscript)
"""Where a number can be held: ``step``, ``self.step``, ``state["step"]``."""

DEEPEST = 3
"""Functions within functions that are looked into."""


@lru_cache(maxsize=64)
def parsed(file: str) -> ast.Module | None:
    """Return the tree of a file; None where it cannot be read as Python. Lines that are not there make an empty one."""
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return None


def loop_at(frame: FrameType, tree: ast.Module) -> ast.For | None:
    """Return the loop whose next batch this frame is at; None where no ``for`` statement asks for it."""
    if dis.opname[frame.f_code.co_code[frame.f_lasti]] != "FOR_ITER":
        return None
    line = frame.f_lineno
    loops = (n for n in ast.walk(tree) if isinstance(n, ast.For) and n.lineno <= line <= (n.iter.end_lineno or line))
    return max(loops, key=lambda n: (n.lineno, n.col_offset), default=None)


def expressions_at(tree: ast.AST, line: int) -> Iterator[ast.AST]:
    """Yield every expression that stands in this line, or passes through it."""
    return (n for n in ast.walk(tree) if isinstance(n, ast.expr) and n.lineno <= line <= (n.end_lineno or n.lineno))


def name_of(node: ast.expr) -> str:
    """Return the last name of what is called: ``log`` of ``self.writer.log``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def within(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield every node that runs with the body, not those of functions that are defined there."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


def mentions(node: ast.AST, names: set[str]) -> bool:
    """Whether one of these names, as they are written, is part of the expression."""
    return any(ast.unparse(n) in names for n in ast.walk(node) if isinstance(n, PLACES))


def definition_of(tree: ast.Module, function: FunctionType) -> ast.FunctionDef | None:
    """Return where a function is defined in the tree of its file."""
    line = function.__code__.co_firstlineno
    return next(
        (
            n
            for n in ast.walk(tree)
            if isinstance(n, ast.FunctionDef)
            and n.name == function.__name__
            and min([n.lineno, *(d.lineno for d in n.decorator_list)]) == line
        ),
        None,
    )


def function_of(called: ast.expr, frame: FrameType) -> FunctionType | None:
    """Return the plain function or method that this names in the frame, None where it is anything else."""
    value = look_up(called, ChainMap(frame.f_locals, frame.f_globals))
    value = getattr(value, "__func__", value)
    return value if isinstance(value, FunctionType) else None


def look_up(node: ast.expr, names: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any object of the user's
    """Return what a name or an attribute stands for; properties and their like are not run."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Subscript):
        holder = look_up(node.value, names)
        key = node.slice.value if isinstance(node.slice, ast.Constant) else look_up(node.slice, names)
        with suppress(LookupError, TypeError):
            return holder[key] if type(holder) in (dict, list, tuple) else None
    if not isinstance(node, ast.Attribute):
        return None
    owner = look_up(node.value, names)
    found = getattr(owner, "__dict__", {}).get(node.attr)
    if found is not None or owner is None:
        return found
    method = inspect.getattr_static(type(owner), node.attr, None)
    return method.__get__(owner) if isinstance(method, FunctionType) else None


def around(tree: ast.Module, code: CodeType, line: int) -> list[ast.AST]:
    """Return what stands around a line within the function of this code, the innermost first, the function last."""
    found = [n for n in ast.walk(tree) if isinstance(n, _AROUND) and n.lineno <= line <= (n.end_lineno or line)]
    found.sort(key=lambda n: (n.lineno, n.col_offset), reverse=True)
    if code.co_name.startswith("<") and code.co_name != "<module>":  # a comprehension, with a frame of its own
        return [n for n in found if isinstance(n, COMPREHENSIONS)]
    own = next((i for i, n in enumerate(found) if isinstance(n, FUNCTIONS) and n.name == code.co_name), None)
    return [*found[: own + 1]] if own is not None else [n for n in found if not isinstance(n, FUNCTIONS)]


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_AROUND = (*FUNCTIONS, ast.With, ast.For, ast.While, *COMPREHENSIONS)
