"""What a loader feeds, training or evaluation, by the evidence nearest to its call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import libcst as cst
from libcst import matchers as m

from bnguard._audit_loader.names import stated_mode
from bnguard._fix.calls import bindings, functions, literal_text, words
from bnguard._fix.usage import used_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bnguard._facts.models import Mode
    from bnguard._fix.calls import LoaderCall
    from bnguard._fix.tree import Tree

_MAKES_LOADERS = re.compile(r"loader|data|(?:^|_)dls?(?:_|$)|batches|(?:^|_)iter", re.IGNORECASE)
"""Functions that are named for the loader they make; what others are named for may be far from it."""

_SPLIT_KEYWORDS = frozenset(["split", "mode", "phase", "subset", "image_set", "partition", "stage"])
_DEPTH = 4
"""How many definitions are followed, one in another."""


@dataclass(frozen=True)
class Purpose:
    """What a call feeds.

    Attributes:
        mode: ``train``, ``eval``, or None where nothing says so.
        why: how it is known, or why it is not.
        ask: what the user can say about it; ``{}`` stands for the call's name or line.

    """

    mode: Mode | None
    why: str
    ask: str = "say --train {0} or --eval {0}"


def purpose(call: LoaderCall, tree: Tree, place: tuple[tuple[int, int], ...] = ()) -> Purpose:
    """Return what a call feeds, with the reason; ``place`` as in :func:`bindings`."""
    both = _feeds_both(call.node, tree)
    if both:
        return Purpose(
            None, f"one call makes loaders for training and evaluation ({both})", "--train {0} fixes them all"
        )
    for mode, why in _evidence(call, tree, place):
        if mode:
            return Purpose(mode, why)
    return Purpose(None, "nothing says whether it feeds training")


def _evidence(call: LoaderCall, tree: Tree, place: tuple[tuple[int, int], ...]) -> Iterator[tuple[Mode | None, str]]:
    """Yield what each piece of evidence says, the nearest first."""
    bound = list(bindings(call.node, tree, place))
    for binding in bound:
        if not binding.given_to:
            yield _first(binding.names), "by its name"
        elif binding.names != ("fit",):  # which is given both
            yield _first(binding.names), f"it is given to {binding.text}()"
    around = list(functions(call.node, tree))
    for name in around:
        if _MAKES_LOADERS.search(name):
            yield stated_mode(name), f"made in {name}()"
    for parameter in ("dataset", "sampler", "batch_sampler"):
        if parameter in call.arguments:
            yield from _of_source(f"its {parameter}", call.arguments[parameter], tree, _DEPTH)
    yield from used_for(call, [b.target for b in bound if b.target is not None], tree)
    for name in around:
        yield stated_mode(name), f"made in {name}()"
    if m.matches(call.arguments.get("shuffle") or cst.Name("None"), m.Name("True")):
        yield "train", "shuffle=True"


def _first(names: Iterable[str]) -> Mode | None:
    return next((mode for mode in map(stated_mode, names) if mode), None)


def _of_source(what: str, source: cst.BaseExpression, tree: Tree, depth: int) -> Iterator[tuple[Mode | None, str]]:
    """Yield what the names and literals of a dataset or sampler say, its own before those of its definition."""
    if isinstance(source, cst.Call):
        yield from _of_arguments(what, source)
        for name in islice(words(source.func), 1):
            yield stated_mode(name), f"{what} comes from {name}()"
        if depth and source.args and not source.args[0].star:
            yield from _of_source(what, source.args[0].value, tree, depth - 1)
        return
    for name in words(source):
        yield stated_mode(name), f"{what} is {tree.code(source)}"
    root = source
    while isinstance(root, (cst.Attribute, cst.Subscript)):
        root = root.value
    value = tree.value_of(root) if isinstance(root, cst.Name) else None
    if value is not None and depth:
        yield from _of_source(what, value, tree, depth - 1)


def _of_arguments(what: str, call: cst.Call) -> Iterator[tuple[Mode | None, str]]:
    """Yield what ``CIFAR10(root, train=False)`` and ``SVHN(root, split="test")`` say."""
    for argument in call.args:
        keyword = argument.keyword.value if argument.keyword else ""
        if keyword in ("train", "is_train", "training") and m.matches(argument.value, m.Name("True") | m.Name("False")):
            value = argument.value.value  # type: ignore[attr-defined]
            yield ("train" if value == "True" else "eval"), f"{what} has {keyword}={value}"
        elif keyword in _SPLIT_KEYWORDS:
            text = literal_text(argument.value)
            yield (stated_mode(text) if text else None), f'{what} has {keyword}="{text}"'


def _feeds_both(node: cst.Call, tree: Tree) -> str | None:
    """Return the loop over training and evaluation that a call stands in and depends on, None without one."""
    used = _names(node) | {name for b in bindings(node, tree) if b.target for name in _names(b.target)}
    inner: cst.CSTNode = node
    for around in tree.ancestors(node):
        loop: cst.For | cst.CompFor | None = None
        if isinstance(around, cst.FunctionDef):
            return None
        if isinstance(around, cst.For) and inner is around.body:
            loop = around
        elif isinstance(around, (cst.ListComp, cst.SetComp, cst.GeneratorExp, cst.DictComp)):
            loop = around.for_in
            used |= _names(around.key) if isinstance(around, cst.DictComp) else set()
        if loop is not None and used & _names(loop.target) and _modes(loop.iter, tree) == {"train", "eval"}:
            return f"for {tree.code(loop.target)} in {tree.code(loop.iter)}"
        inner = around
    return None


def _names(node: cst.CSTNode) -> set[str]:
    return {found.value for found in m.findall(node, m.Name()) if isinstance(found, cst.Name)}


def _modes(expression: cst.BaseExpression, tree: Tree, depth: int = 1) -> set[Mode]:
    """Return what the names and string literals in an expression say, those of its names' definitions included."""
    modes: set[Mode | None] = set()
    for found in m.findall(expression, m.Name() | m.SimpleString()):
        text = found.value if isinstance(found, cst.Name) else literal_text(found)  # type: ignore[arg-type]
        modes.add(stated_mode(text or ""))
        value = tree.value_of(found) if isinstance(found, cst.Name) and depth else None
        if value is not None:
            modes |= _modes(value, tree, depth - 1)
    return {mode for mode in modes if mode}
