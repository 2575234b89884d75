"""Whether a script's loop counts its batches, and may do something else at one that is left out, or gathers their rows.

Both are read in its source; what it has gathered so far is looked at as well.
"""

from __future__ import annotations

import ast
import dis
import gc
import inspect
import itertools
import linecache
import textwrap
from collections import ChainMap, deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import FrameType, FunctionType
from typing import Any

from torch import Tensor, nn

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

_KEEPING = """
append appendleft extend add insert put push store update setdefault write writerow dump
"""
_GATHERING = frozenset(_KEEPING.split())
"""Methods by which a loop keeps something of each batch for later."""

_JOINING = frozenset(["cat", "concat", "concatenate", "stack", "vstack", "hstack", "append"])
"""Functions whose result a loop keeps under the name of one of their arguments."""

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
    loop = _loop_at(frame, tree)
    generates = bool(code.co_flags & inspect.CO_GENERATOR)
    if loop is not None:
        return _of_loop(loop, frame), generates
    if generates or code.co_name in ("__next__", "__iter__"):
        return None, True
    return _of_expressions(list(_at(tree, frame.f_lineno)))


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


def _loop_at(frame: FrameType, tree: ast.Module) -> ast.For | None:
    """Return the loop whose next batch this frame is at; None where no ``for`` statement asks for it."""
    if dis.opname[frame.f_code.co_code[frame.f_lasti]] != "FOR_ITER":
        return None
    line = frame.f_lineno
    loops = (n for n in ast.walk(tree) if isinstance(n, ast.For) and n.lineno <= line <= (n.iter.end_lineno or line))
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
    value = _look_up(called, ChainMap(frame.f_locals, frame.f_globals))
    value = getattr(value, "__func__", value)
    return value if isinstance(value, FunctionType) else None


# --------------------------------------------------------------------------------- what a loop gathers


def gathers(frame: FrameType | None) -> bool:
    """Return whether the script keeps rows of its batches, so that those left out are missing in what it makes of them.

    Numbers do not count, such as the losses of an epoch: no later batch is made of them.

    Args:
        frame: in which the iterator is asked for its second batch, or one below.

    """
    while frame is not None:
        tree = _parsed(frame.f_code.co_filename) if whose(frame.f_code.co_filename) == "user" else None
        if tree is not None:
            names = ChainMap(frame.f_locals, frame.f_globals)
            loop = _loop_at(frame, tree)
            if loop is not None and not frame.f_code.co_flags & inspect.CO_GENERATOR:
                return _keeps_rows(loop.body, names, 0)
            if loop is None and any(_holds_rows(n, names) for n in _at(tree, frame.f_lineno)):
                return True
        frame = frame.f_back
    return False


def _holds_rows(node: ast.AST, names: Mapping[str, Any]) -> bool:
    """Whether this expression, in the line that asks for the batches, is a list of something of each."""
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
        return not _is_number_of(node.elt, names)
    if isinstance(node, ast.DictComp):
        return not _is_number_of(node.value, names)
    return isinstance(node, ast.Call) and _name(node.func) in ("list", "tuple", "sorted", "dict")


def _keeps_rows(body: list[ast.stmt], names: Mapping[str, Any], depth: int) -> bool:
    return any(_is_kept(node, names, depth) for node in _within(body))


def _is_kept(node: ast.AST, names: Mapping[str, Any], depth: int) -> bool:
    if isinstance(node, ast.Call):
        return _call_keeps(node, names, depth)
    if isinstance(node, ast.AugAssign):
        held = _look_up(node.target, names)
        return isinstance(held, list) and not (_are_numbers(held) if held else _is_number_of(node.value, names))
    if not isinstance(node, ast.Assign):
        return False
    stored = [_look_up(t.value, names) for t in node.targets if isinstance(t, ast.Subscript)]
    if any(isinstance(x, dict) and not (_are_numbers(x) if x else _is_number_of(node.value, names)) for x in stored):
        return True
    own = {ast.unparse(t) for t in node.targets if isinstance(t, (ast.Name, ast.Attribute))}
    return any(
        isinstance(n, ast.Call) and _name(n.func) in _JOINING and _mentions(n, own) for n in ast.walk(node.value)
    )


def _call_keeps(node: ast.Call, names: Mapping[str, Any], depth: int) -> bool:
    if isinstance(node.func, ast.Attribute) and node.func.attr in _GATHERING:
        held = _look_up(node.func.value, names)
        if isinstance(held, (list, set, dict, deque)) and held:
            return not _are_numbers(held)
        given = [*node.args, *(k.value for k in node.keywords)]
        return not all(_is_number_of(a, names) for a in given)
    called = _look_up(node.func, names)
    function = getattr(called, "__func__", called)
    if not isinstance(function, FunctionType) or depth >= _DEEPEST or function.__name__ == "forward":
        return False
    tree = _parsed(function.__code__.co_filename) if whose(function.__code__.co_filename) == "user" else None
    defined = None if tree is None else _defined(tree, function)
    inner = {"self": getattr(called, "__self__", None)}
    return defined is not None and _keeps_rows(defined.body, ChainMap(inner, function.__globals__), depth + 1)


def _look_up(node: ast.expr, names: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any object of the user's
    """Return what a name or an attribute stands for; properties and their like are not run."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    owner = _look_up(node.value, names)
    found = getattr(owner, "__dict__", {}).get(node.attr)
    if found is not None or owner is None:
        return found
    method = inspect.getattr_static(type(owner), node.attr, None)
    return method.__get__(owner) if isinstance(method, FunctionType) else None


def _is_number_of(node: ast.expr, names: Mapping[str, Any]) -> bool:
    """Whether an expression is a number, a text or a model, which no batch can be made of."""
    if isinstance(node, (ast.Constant, ast.JoinedStr, ast.Compare)):
        return True
    if isinstance(node, (ast.Tuple, ast.List)):
        return all(_is_number_of(n, names) for n in node.elts)
    if isinstance(node, ast.BinOp):
        return _is_number_of(node.left, names) and _is_number_of(node.right, names)
    if isinstance(node, ast.Call):
        return _name(node.func) in ("item", "float", "int", "len", "size", "numel", "round", "format", "state_dict")
    value = _look_up(node, names)
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
