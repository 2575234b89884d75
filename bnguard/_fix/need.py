"""Whether a loader needs its tail merged, by what its call says, and its dataset where that is spelled out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst

from bnguard._fix.calls import bindings
from bnguard._remedies import ALLOW_SINGLE_SAMPLE, BALANCE, FREEZE, MERGE_TAIL

if TYPE_CHECKING:
    from bnguard._fix.calls import LoaderCall
    from bnguard._fix.tree import Tree


_REPAIRS = frozenset([MERGE_TAIL.function, BALANCE.function])


@dataclass(frozen=True)
class Need:
    """Whether a call needs a fix.

    Attributes:
        needed: whether its last batch can hold one sample.
        why: the reason, in words that follow a colon.
        repaired: it has the fix already.
        asks: whether it is left though only running the code, or the user, could tell.
        certain: the last batch is known to hold one sample.

    """

    needed: bool
    why: str
    repaired: bool = False
    asks: bool = False
    certain: bool = False


def need(call: LoaderCall, tree: Tree) -> Need:
    """Return whether a call needs a fix if it feeds training, with the reason."""
    repaired = _repaired(call, tree)
    if repaired:
        return Need(False, repaired, repaired=True)
    if not call.kind.certain:
        also = f"{tree.code(call.node.func)} is bound to something else as well in this file"
        return Need(False, f"{also}: wrap it by hand", asks=True)
    batching = _batching(call, tree)
    return _by_batching(batching, tree) or _by_length(batching, tree)


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
    text, place = tree.code(target), tree.owner(target)
    for call in tree.calls:
        if not call.args or not tree.imported_as(call.func) & _REPAIRS:
            continue
        given = call.args[0].value
        if tree.code(given) == text and tree.owner(given) is place:
            return tree.line(call)
    return None


@dataclass(frozen=True)
class _Batching:
    """What cuts the samples into batches: the loader's own arguments, or those of torch's BatchSampler.

    Attributes:
        size: of a batch; None where the default holds.
        drop_last: as it is given; None where the default holds.
        drawn_from: what the samples are drawn from, once each; None where that is not known.
        hidden: whether there may be arguments that cannot be seen.

    """

    size: cst.BaseExpression | None
    drop_last: cst.BaseExpression | None
    drawn_from: cst.BaseExpression | None
    hidden: bool = False


_SAMPLERS = frozenset(f"torch.utils.data.{name}" for name in ("SequentialSampler", "RandomSampler"))


def _batching(call: LoaderCall, tree: Tree) -> _Batching:
    given, hidden = call.arguments, bool(call.starred) or call.kind.own_init
    if "batch_sampler" not in given or _is_none(given["batch_sampler"]):
        source = given.get("dataset")
        if "sampler" in given and not _is_none(given["sampler"]):
            source = _sampled(given["sampler"], tree)
        return _Batching(given.get("batch_size"), given.get("drop_last"), source, hidden)
    made = _value(given["batch_sampler"], tree)
    if not isinstance(made, cst.Call) or "torch.utils.data.BatchSampler" not in tree.imported_as(made.func):
        return _Batching(None, None, None, hidden=True)
    by_position = (a.value for a in made.args if not a.keyword)
    parts = dict(zip(("sampler", "batch_size", "drop_last"), by_position, strict=False))
    parts |= {a.keyword.value: a.value for a in made.args if a.keyword}
    source = _sampled(parts["sampler"], tree) if "sampler" in parts else None
    return _Batching(parts.get("batch_size"), parts.get("drop_last"), source, any(a.star for a in made.args))


def _sampled(sampler: cst.BaseExpression, tree: Tree) -> cst.BaseExpression | None:
    """Return what a sampler draws from, each sample once; None where that is not known."""
    made = _value(sampler, tree)
    if not isinstance(made, cst.Call) or len(made.args) != 1 or made.args[0].star:
        return None
    return made.args[0].value if tree.imported_as(made.func) & _SAMPLERS else None


def _value(expression: cst.BaseExpression, tree: Tree) -> cst.BaseExpression:
    return (tree.value_of(expression) if isinstance(expression, cst.Name) else None) or expression


def _is_none(expression: cst.BaseExpression) -> bool:
    return isinstance(expression, cst.Name) and expression.value == "None"


def _by_batching(batching: _Batching, tree: Tree) -> Need | None:
    """Say why the batch size or ``drop_last`` alone leave nothing to do, or a question."""
    if batching.size is None and not batching.hidden:
        return Need(False, _ones("batch_size is not given, and so 1"))
    batch_size = literal(batching.size, tree) if batching.size is not None else UNKNOWN
    if batch_size is None:
        return Need(False, "batch_size=None: the dataset makes the batches")
    if batch_size == 1:
        return Need(False, _ones("batch_size=1"))
    drop_last = literal(batching.drop_last, tree) if batching.drop_last is not None else False
    if drop_last is True:
        lost = f"loses its samples each epoch; {MERGE_TAIL.function} would keep them"
        return Need(False, f"drop_last=True leaves no short batch, but {lost}")
    if drop_last is not False and batching.drop_last is not None:
        later = f"drop_last={tree.code(batching.drop_last)} is decided at run time"
        by_hand = f"where it can be False, wrap the call by hand in {MERGE_TAIL.function}"
        return Need(False, f"{later}: {by_hand}", asks=True)
    return None


def _ones(cause: str) -> str:
    ways = f"raise batch_size, or use {ALLOW_SINGLE_SAMPLE.line()} or {FREEZE.line()}"
    return f"every batch holds one sample ({cause}), and merging cannot help: {ways}"


def _by_length(batching: _Batching, tree: Tree) -> Need:
    source = batching.drawn_from
    samples = _known_length(source, tree) if source is not None and not batching.hidden else None
    batch_size = literal(batching.size, tree) if batching.size is not None else UNKNOWN
    if not samples or not isinstance(batch_size, int) or batch_size < 2:
        return Need(True, "its last batch can hold one sample")
    if samples == 1:
        return Need(False, "its dataset holds one sample, which no batching can help: give it more")
    tail = samples % batch_size or batch_size
    words = f"{samples:,} samples in batches of {batch_size:,} end with {tail:,}"
    return Need(tail == 1, words if tail == 1 else f"nothing to do: {words}", certain=tail == 1)


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
    if "torch.utils.data.Subset" in names and len(call.args) == 2:
        return _known_length(call.args[1].value, tree)
    if names & _FILLED:
        shape = first.elements[0].value if isinstance(first, (cst.Tuple, cst.List)) and first.elements else first
        return _whole(shape, tree)
    return _whole(first, tree) if _is_range(call, tree) else None


def _is_range(call: cst.Call, tree: Tree) -> bool:
    """Whether a call is ``range(n)``, by Python's own ``range``."""
    plain = isinstance(call.func, cst.Name) and call.func.value == "range" and len(call.args) == 1
    return plain and not tree.assignments(cst.ensure_type(call.func, cst.Name))


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
