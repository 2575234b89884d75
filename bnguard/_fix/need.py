"""Whether a loader needs its tail merged, by what its call says, and its dataset where that is spelled out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst
from libcst import matchers as m

from bnguard._fix.calls import bindings
from bnguard._remedies import ALLOW_SINGLE_SAMPLE, BALANCE, FREEZE, MERGE_TAIL

if TYPE_CHECKING:
    from bnguard._fix.calls import LoaderCall
    from bnguard._fix.tree import Tree


_REPAIRS = frozenset([MERGE_TAIL.function, BALANCE.function])


@dataclass(frozen=True)
class Need:
    """Whether a call needs a fix, and the reason in words that follow a colon."""

    needed: bool
    why: str


def need(call: LoaderCall, tree: Tree) -> Need:
    """Return whether a call needs a fix if it feeds training, with the reason."""
    reason = _repaired(call, tree) or _other_class(call, tree) or _by_arguments(call, tree)
    if reason:
        return Need(False, reason)
    return _by_length(call, tree)


def _repaired(call: LoaderCall, tree: Tree) -> str | None:
    """Say where the loader already goes through a repair: around its call, or later under its name."""
    for around in tree.ancestors(call.node):
        if isinstance(around, cst.Call):
            names = [n for n in tree.imported_as(around.func) if n.startswith("bnguard.repair.")]
            if names:
                return f"already in {names[0]}()"
        elif not isinstance(around, cst.Arg):
            break
    for binding in bindings(call.node, tree):
        line = _repaired_later(binding.target, tree) if binding.target is not None else None
        if line:
            return f"already repaired in line {line}"
    return None


def _repaired_later(target: cst.BaseExpression, tree: Tree) -> int | None:
    """Return the line of ``bnguard.repair.merge_tail(NAME)`` for this very name, None without one."""
    text, place = tree.code(target), _owner(target, tree)
    for call in tree.calls:
        if not call.args or not tree.imported_as(call.func) & _REPAIRS:
            continue
        given = call.args[0].value
        if tree.code(given) == text and _owner(given, tree) is place:
            return tree.line(call)
    return None


def _owner(expression: cst.BaseExpression, tree: Tree) -> object:
    """Return what a name belongs to: the class for ``self.loader``, else the scope that binds it."""
    root = expression
    while isinstance(root, (cst.Attribute, cst.Subscript)):
        root = root.value
    if root is not expression and m.matches(root, m.Name("self")):
        return next((a for a in tree.ancestors(expression) if isinstance(a, cst.ClassDef)), None)
    bound = tree.assignments(root) if isinstance(root, cst.Name) else []
    return bound[0].scope if bound else None


def _other_class(call: LoaderCall, tree: Tree) -> str | None:
    if not call.kind.certain:
        return f"{tree.code(call.node.func)} is bound to something else as well in this file: wrap it by hand"
    return None


def _by_arguments(call: LoaderCall, tree: Tree) -> str | None:
    """Say why the arguments alone leave nothing to do."""
    size, dropped = call.arguments.get("batch_size"), call.arguments.get("drop_last")
    if size is None and "batch_sampler" not in call.arguments and not call.starred and not call.kind.own_init:
        return _ones("batch_size is not given, and so 1")
    batch_size = literal(size, tree) if size is not None else UNKNOWN
    if batch_size is None:
        return "batch_size=None: the dataset makes the batches"
    if batch_size == 1:
        return _ones("batch_size=1")
    drop_last = literal(dropped, tree) if dropped is not None else False
    if drop_last is True:
        return (
            "drop_last=True leaves no short batch, but loses its samples each epoch; "
            f"{MERGE_TAIL.function} would keep them"
        )
    if drop_last is not False and dropped is not None:
        return (
            f"drop_last={tree.code(dropped)} is decided at run time: where it can be False, wrap the call by hand in "
            f"{MERGE_TAIL.function}"
        )
    return None


def _ones(cause: str) -> str:
    ways = f"raise batch_size, or use {ALLOW_SINGLE_SAMPLE.line()} or {FREEZE.line()}"
    return f"every batch holds one sample ({cause}), and merging cannot help: {ways}"


def _by_length(call: LoaderCall, tree: Tree) -> Need:
    general = Need(True, "its last batch can hold one sample")
    if call.starred or call.kind.own_init or call.arguments.keys() & {"sampler", "batch_sampler"}:
        return general
    dataset, size = call.arguments.get("dataset"), call.arguments.get("batch_size")
    samples = _known_length(dataset, tree) if dataset is not None else None
    batch_size = literal(size, tree) if size is not None else UNKNOWN
    if not samples or not isinstance(batch_size, int) or batch_size < 2:
        return general
    if samples == 1:
        return Need(False, "its dataset holds one sample, which no batching can help: give it more")
    tail = samples % batch_size or batch_size
    words = f"{samples:,} samples in batches of {batch_size:,} end with {tail:,}"
    return Need(tail == 1, words if tail == 1 else f"nothing to do: {words}")


_FILLED = frozenset(f"torch.{name}" for name in ("randn", "rand", "zeros", "ones", "empty"))


def _known_length(dataset: cst.BaseExpression, tree: Tree) -> int | None:
    """Return the length of a dataset; None where running the code would have to tell."""
    if isinstance(dataset, cst.Name):
        value = tree.value_of(dataset)
        if value is not None:
            return _known_length(value, tree)
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
        return _known_length(first, tree)
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
