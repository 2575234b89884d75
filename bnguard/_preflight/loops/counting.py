"""Whether a script's loop counts its batches, and may do something else at one that is left out."""

from __future__ import annotations

import ast
import gc
import inspect
import itertools
import textwrap
from collections.abc import Iterator
from types import FrameType

from bnguard._source import (
    DEEPEST,
    PLACES,
    definition_of,
    expressions_at,
    function_of,
    loop_at,
    mentions,
    name_of,
    parsed,
    within,
)
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

_CUTTING = (itertools.islice, itertools.takewhile, itertools.cycle, itertools.zip_longest, zip, map)


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
    tree = parsed(code.co_filename)
    if tree is None:
        return "the source of its training loop is not there", False
    loop = loop_at(frame, tree)
    generates = bool(code.co_flags & inspect.CO_GENERATOR)
    if loop is not None:
        return _of_loop(loop, frame), generates
    if generates or code.co_name in ("__next__", "__iter__"):
        return None, True
    return _of_expressions(list(expressions_at(tree, frame.f_lineno)))


def _of_expressions(found: list[ast.AST]) -> tuple[str | None, bool]:
    """Judge a line that asks for a batch though no loop begins there."""
    if any(isinstance(n, (ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)) for n in found):
        return None, False
    if any(isinstance(n, ast.Call) and name_of(n.func) == "next" for n in found):
        return "the script asks for its batches one by one, with next()", False
    return None, True


def _of_loop(loop: ast.For, frame: FrameType) -> str | None:
    if any(
        name_of(n.func) in ("islice", "takewhile", "zip", "zip_longest")
        for n in ast.walk(loop.iter)
        if isinstance(n, ast.Call)
    ):
        return "the script's loop takes a part of the batches, or several loaders together"
    counted: set[str] = set()
    if any(isinstance(n, ast.Call) and name_of(n.func) == "enumerate" for n in ast.walk(loop.iter)):
        index = loop.target.elts[0] if isinstance(loop.target, ast.Tuple) and loop.target.elts else loop.target
        counted.add(ast.unparse(index))
    return _of_body(loop.body, counted, frame, 0)


def _of_body(body: list[ast.stmt], counted: set[str], frame: FrameType, depth: int) -> str | None:
    counted = counted | _counters(body, counted)
    for node in within(body):
        if isinstance(node, (ast.If, ast.While, ast.Match)):
            found = _of_branch(node, counted, frame)
        elif isinstance(node, (ast.IfExp, ast.BoolOp)):
            found = _of_expression(node, counted)
        elif isinstance(node, ast.Call) and depth < DEEPEST:
            found = _of_call(node, frame, depth)
        else:
            found = None
        if found is not None:
            return found
    return None


def _counters(body: list[ast.stmt], known: set[str]) -> set[str]:
    """Return what the body counts up, and what it computes from that."""
    found = {ast.unparse(n.target) for n in within(body) if isinstance(n, ast.AugAssign) and _is_number(n.value)}
    for _ in range(2):
        for node in within(body):
            if isinstance(node, (ast.Assign, ast.NamedExpr)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                own = {ast.unparse(t) for t in targets if isinstance(t, PLACES)}
                sums = isinstance(node.value, ast.BinOp) and _is_number(node.value.right)  # step = step + 1
                if mentions(node.value, known | found | (own if sums else set())):
                    found |= own
    return found


def _is_number(value: ast.expr) -> bool:
    """Whether this counts rather than adds up losses: a number, or a size."""
    calls = [name_of(n.func) for n in ast.walk(value) if isinstance(n, ast.Call)]
    return all(name in ("len", "size", "numel") for name in calls) and not any(
        isinstance(n, ast.Name) and "loss" in n.id for n in ast.walk(value)
    )


def _of_branch(node: ast.If | ast.While | ast.Match, counted: set[str], frame: FrameType) -> str | None:
    test = node.subject if isinstance(node, ast.Match) else node.test
    body = [s for c in node.cases for s in c.body] if isinstance(node, ast.Match) else [*node.body, *node.orelse]
    leaving = [n for n in within(body) if _leaves(n)]
    if mentions(test, counted):
        if leaving:
            return f"the script's loop may end, or pass over batches, where `{_shown(test)}`"
        other = next((c for c in _calls(body) if not _is_harmless(c, frame)), None)
        return f"the script calls {ast.unparse(other.func)}() where `{_shown(test)}`" if other else None
    if any(isinstance(n, (ast.Break, ast.Return)) for n in leaving):
        asked = [name_of(n.func) for n in ast.walk(test) if isinstance(n, ast.Call)]
        plain = isinstance(test, PLACES) or not asked
        if any(name not in OF_THE_BATCH for name in asked) or (plain and not _of_data(test)):
            return f"the script's loop may end where `{_shown(test)}`"
    return None


def _is_harmless(call: ast.Call, frame: FrameType) -> bool:
    """Whether a call may be left out; a function of the user's may do anything, whatever its name."""
    function = function_of(call.func, frame)
    return name_of(call.func) in HARMLESS and (function is None or whose(function.__code__.co_filename) != "user")


def _of_data(test: ast.expr) -> bool:
    """Whether a condition without calls compares the batch's own values, such as a loss or a number of samples."""
    names = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(test) if isinstance(n, ast.Attribute)
    }
    return any("loss" in name or name in ("shape", "batch", "batch_size") for name in names)


def _leaves(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return name_of(node.func) in ("exit", "_exit", "quit")
    return isinstance(node, (ast.Break, ast.Return, ast.Continue, ast.Raise))


def _calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    return (n for n in within(body) if isinstance(n, ast.Call))


def _of_expression(node: ast.IfExp | ast.BoolOp, counted: set[str]) -> str | None:
    parts = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
    condition = node if isinstance(node, ast.BoolOp) else node.test
    calls = [n for part in parts for n in ast.walk(part) if isinstance(n, ast.Call)]
    if mentions(condition, counted) and any(name_of(c.func) not in HARMLESS for c in calls):
        return f"the script's loop counts its batches in `{_shown(node)}`"
    return None


def _shown(node: ast.AST) -> str:
    return textwrap.shorten(ast.unparse(node), 60, placeholder=" …")


def _of_call(node: ast.Call, frame: FrameType, depth: int) -> str | None:
    """Look into a function of the user's that the loop calls."""
    function = function_of(node.func, frame)
    if function is None or whose(function.__code__.co_filename) != "user":
        return None
    tree = parsed(function.__code__.co_filename)
    defined = None if tree is None else definition_of(tree, function)
    if defined is None or function.__name__ == "forward":
        return None
    counted = {a.arg for a in (*defined.args.args, *defined.args.kwonlyargs)} & COUNTERS
    returns = [n for n in defined.body if not isinstance(n, ast.Return)]
    inner = _counters(defined.body, counted) | counted
    for branch in within(returns):
        if isinstance(branch, ast.If) and mentions(branch.test, inner):
            found = _of_branch(branch, inner, frame)
            if found is not None:
                return found
        if isinstance(branch, ast.Call) and depth + 1 < DEEPEST:
            found = _of_call(branch, frame, depth + 1)
            if found is not None:
                return found
    return None
