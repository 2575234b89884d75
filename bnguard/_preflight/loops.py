"""Whether a script's loop counts its batches: then it may do something else at one that is left out, or end before."""

from __future__ import annotations

import ast
import builtins
import dis
import gc
import itertools
import linecache
import textwrap
from collections.abc import Iterable, Iterator
from functools import lru_cache
from inspect import CO_GENERATOR
from types import FrameType, FunctionType
from typing import Any

from bnguard._usercode import whose

_REPORTING = """
print log info debug warning write flush format append add_scalar add_scalars add_image add_histogram set_postfix
set_postfix_str set_description update log_metrics log_dict refresh reset make_grid save_image save state_dict makedirs
exists synchronize memory_allocated max_memory_allocated empty_cache collect get_rank no_sync get_last_lr
"""
_STEPPING = "step zero_grad clip_grad_norm_ clip_grad_value_ unscale_ scale backward"
_COMPUTING = """
item len str int float round sum mean max min abs range zip divmod pow sqrt avg size dim numel isinstance getattr time
perf_counter now strftime total_seconds join items keys values detach cpu numpy tolist clone sub div mul exp to
"""
HARMLESS = frozenset(f"{_REPORTING} {_STEPPING} {_COMPUTING}".split())
"""Calls that may be left out with a batch: they report, save or step, and call no model on other data."""

OF_THE_BATCH = frozenset(f"isnan isinf isfinite any all {_COMPUTING}".split()) - {"time", "perf_counter", "now"}
"""Calls in the condition of an early end that ask for values of the batch at hand, which may come at any batch."""

_COUNTERS = "step steps i idx index it iteration n_iter batch_idx batch_index global_step n_batches"
COUNTERS = frozenset(_COUNTERS.split())

_DEEPEST = 3
"""Functions within functions that are looked into."""

_CUTTING = (itertools.islice, itertools.takewhile, itertools.cycle, zip, map)


def doubt(frame: FrameType | None, iterator: object) -> str | None:
    """Return why leaving batches out could change what the script does; None where its loop takes them as they come.

    Args:
        frame: in which the iterator is asked for its first batch, or one below.
        iterator: that gives the batches.

    """
    for holder in gc.get_referrers(iterator):
        if isinstance(holder, _CUTTING):
            return f"the script takes its batches through {type(holder).__name__}()"
    while frame is not None:
        if whose(frame.f_code.co_filename) == "user":
            found, goes_on = _of_frame(frame)
            if found is not None or not goes_on:
                return found
        frame = frame.f_back
    return None


def _of_frame(frame: FrameType) -> tuple[str | None, bool]:
    """Judge the loop that this frame is at; and say whether who called it may be the one that loops."""
    code = frame.f_code
    if code.co_name.startswith("<") and code.co_name != "<module>":  # a comprehension has no statements
        return None, code.co_name == "<genexpr>"
    tree = _parsed(code.co_filename)
    if tree is None:
        return "the source of its training loop is not there", False
    line = frame.f_lineno
    loops = (n for n in ast.walk(tree) if isinstance(n, ast.For) and _is_header(n, line))
    loop = _innermost(loops) if dis.opname[code.co_code[frame.f_lasti]] == "FOR_ITER" else None
    generates = bool(code.co_flags & CO_GENERATOR)
    if loop is not None:
        return _of_loop(loop, frame), generates
    if generates or code.co_name in ("__next__", "__iter__"):
        return None, True
    return _of_expressions(list(_at(tree, line)))


def _of_expressions(found: list[ast.AST]) -> tuple[str | None, bool]:
    """Judge a line that asks for a batch though no loop begins there."""
    if any(isinstance(n, (ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)) for n in found):
        return None, False
    if any(isinstance(n, ast.Call) and _name(n.func) == "next" for n in found):
        return "the script asks for its batches one by one, with next()", False
    return None, True


@lru_cache(maxsize=64)
def _parsed(file: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return None


def _is_header(loop: ast.For, line: int) -> bool:
    return loop.lineno <= line <= (loop.iter.end_lineno or loop.lineno)


def _innermost(loops: Iterable[ast.For]) -> ast.For | None:
    return max(loops, key=lambda n: (n.lineno, n.col_offset), default=None)


def _at(tree: ast.AST, line: int) -> Iterator[ast.AST]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.expr) and n.lineno <= line <= (n.end_lineno or n.lineno))


def _name(node: ast.expr) -> str:
    """Return the last name of what is called: ``log`` of ``self.writer.log``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


# ------------------------------------------------------------------------------------ what a loop counts


def _of_loop(loop: ast.For, frame: FrameType) -> str | None:
    if any(_name(n.func) in ("islice", "takewhile", "zip") for n in ast.walk(loop.iter) if isinstance(n, ast.Call)):
        return "the script's loop takes a part of the batches, or several loaders together"
    counted: set[str] = set()
    if any(isinstance(n, ast.Call) and _name(n.func) == "enumerate" for n in ast.walk(loop.iter)):
        index = loop.target.elts[0] if isinstance(loop.target, ast.Tuple) and loop.target.elts else loop.target
        counted.add(ast.unparse(index))
    return _of_body(loop.body, counted, frame, 0)


def _of_body(body: list[ast.stmt], counted: set[str], frame: FrameType, depth: int) -> str | None:
    counted = counted | _counters(body, counted)
    for node in _within(body):
        if isinstance(node, (ast.If, ast.While)):
            found = _of_branch(node, counted)
        elif isinstance(node, (ast.IfExp, ast.BoolOp)):
            found = _of_expression(node, counted)
        elif isinstance(node, ast.Call) and depth < _DEEPEST:
            found = _of_call(node, frame, depth)
        else:
            found = None
        if found is not None:
            return found
    return None


def _within(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield every node that runs with the body, not those of functions that are defined there."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


def _counters(body: list[ast.stmt], known: set[str]) -> set[str]:
    """Return what the body counts up, and what it computes from that."""
    found = {ast.unparse(n.target) for n in _within(body) if isinstance(n, ast.AugAssign) and _is_number(n.value)}
    for _ in range(2):
        for node in _within(body):
            if isinstance(node, ast.Assign) and _mentions(node.value, known | found):
                found |= {ast.unparse(t) for t in node.targets if isinstance(t, (ast.Name, ast.Attribute))}
    return found


def _is_number(value: ast.expr) -> bool:
    """Whether this counts rather than adds up losses: a number, or a size."""
    calls = [_name(n.func) for n in ast.walk(value) if isinstance(n, ast.Call)]
    return all(name in ("len", "size", "numel") for name in calls) and not any(
        isinstance(n, ast.Name) and "loss" in n.id for n in ast.walk(value)
    )


def _mentions(node: ast.AST, names: set[str]) -> bool:
    return any(ast.unparse(n) in names for n in ast.walk(node) if isinstance(n, (ast.Name, ast.Attribute)))


def _of_branch(node: ast.If | ast.While, counted: set[str]) -> str | None:
    leaving = [n for n in _within([*node.body, *node.orelse]) if _leaves(n)]
    if _mentions(node.test, counted):
        if leaving:
            return f"the script's loop may end, or pass over batches, where `{_shown(node.test)}`"
        other = next((c for c in _calls([*node.body, *node.orelse]) if _name(c.func) not in HARMLESS), None)
        return f"the script calls {ast.unparse(other.func)}() where `{_shown(node.test)}`" if other else None
    if any(isinstance(n, (ast.Break, ast.Return)) for n in leaving):
        asked = [_name(n.func) for n in ast.walk(node.test) if isinstance(n, ast.Call)]
        plain = isinstance(node.test, (ast.Name, ast.Attribute)) or not asked
        if any(name not in OF_THE_BATCH for name in asked) or (plain and not _of_data(node.test)):
            return f"the script's loop may end where `{_shown(node.test)}`"
    return None


def _of_data(test: ast.expr) -> bool:
    """Whether a condition without calls compares the batch's own values, such as a loss or a number of samples."""
    names = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(test) if isinstance(n, ast.Attribute)
    }
    return any("loss" in name or name in ("shape", "batch", "batch_size") for name in names)


def _leaves(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return _name(node.func) in ("exit", "_exit", "quit")
    return isinstance(node, (ast.Break, ast.Return, ast.Continue, ast.Raise))


def _calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    return (n for n in _within(body) if isinstance(n, ast.Call))


def _of_expression(node: ast.IfExp | ast.BoolOp, counted: set[str]) -> str | None:
    parts = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
    condition = node if isinstance(node, ast.BoolOp) else node.test
    calls = [n for part in parts for n in ast.walk(part) if isinstance(n, ast.Call)]
    if _mentions(condition, counted) and any(_name(c.func) not in HARMLESS for c in calls):
        return f"the script's loop counts its batches in `{_shown(node)}`"
    return None


def _shown(node: ast.AST) -> str:
    return textwrap.shorten(ast.unparse(node), 60, placeholder=" …")


def _of_call(node: ast.Call, frame: FrameType, depth: int) -> str | None:
    """Look into a function of the user's that the loop calls."""
    function = _function(node.func, frame)
    if function is None or whose(function.__code__.co_filename) != "user":
        return None
    tree = _parsed(function.__code__.co_filename)
    defined = None if tree is None else _defined(tree, function)
    if defined is None or function.__name__ == "forward":
        return None
    counted = {a.arg for a in (*defined.args.args, *defined.args.kwonlyargs)} & COUNTERS
    returns = [n for n in defined.body if not isinstance(n, ast.Return)]
    inner = _counters(defined.body, counted) | counted
    for branch in _within(returns):
        if isinstance(branch, ast.If) and _mentions(branch.test, inner):
            found = _of_branch(branch, inner)
            if found is not None:
                return found
        if isinstance(branch, ast.Call) and depth + 1 < _DEEPEST:
            found = _of_call(branch, frame, depth + 1)
            if found is not None:
                return found
    return None


def _defined(tree: ast.Module, function: FunctionType) -> ast.FunctionDef | None:
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


def _function(called: ast.expr, frame: FrameType) -> FunctionType | None:
    """Return the plain function or method that this names in the frame, None where it is anything else."""
    value = _value(called, frame)
    value = getattr(value, "__func__", value)
    return value if isinstance(value, FunctionType) else None


def _value(node: ast.expr, frame: FrameType) -> Any:  # noqa: ANN401 - any object of the user's
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id, frame.f_globals.get(node.id))
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, frame)
        return None if owner is None else getattr(type(owner), node.attr, None)
    return None


# ------------------------------------------------------------------------------------------ enumerate


_enumerate = builtins.enumerate


class _Kind(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _enumerate) or super().__instancecheck__(value)


class Enumerate(metaclass=_Kind):
    """``enumerate`` for the user's code: its count goes on by the batches that are left out as well."""

    left_out = 0
    """Batches that were left out so far, of all loaders."""

    def __new__(cls, iterable: Iterable[Any], start: int = 0) -> Any:  # noqa: ANN401 - or Python's own
        import sys

        if whose(sys._getframe(1).f_code.co_filename) != "user":
            return _enumerate(iterable, start)
        return super().__new__(cls)

    def __init__(self, iterable: Iterable[Any], start: int = 0) -> None:
        self._iterator = iter(iterable)
        self._index = start

    def __iter__(self) -> Enumerate:
        return self

    def __next__(self) -> tuple[int, Any]:
        before = Enumerate.left_out
        item = next(self._iterator)
        index = self._index + Enumerate.left_out - before
        self._index = index + 1
        return index, item
