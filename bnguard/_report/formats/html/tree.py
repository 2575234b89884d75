"""The tree of a model's layers as a page draws it: a flat run of branches that open and close, and of leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, get_args

from bnguard._facts.loaders import dimensions
from bnguard._facts.models import LayerFact, ModelFact, StatisticsFact, Verdict, class_text
from bnguard._report.pictures import Branch, shortened, tree_of

_DEEPEST = 24
"""Branches below are not nested further: browsers stop nesting somewhere, and phones have no room."""

FEW = 40
"""A tree of so few layers is open everywhere, and needs no filter."""


@dataclass(frozen=True)
class Opening:
    """A branch begins: the module's path from the branch above, and a summary of its layers."""

    name: str
    layers: int
    fewest: int | None
    verdicts: tuple[tuple[str, int], ...]
    open: bool
    kind: str = "open"


class Closing(NamedTuple):
    """The innermost branch ends."""

    kind: str = "close"


@dataclass(frozen=True)
class Leaf:
    """One layer; ``remarks`` are what only some layers have to say."""

    name: str
    verdict: str
    type: str
    values: int | None
    shape: str
    place: str
    remarks: tuple[str, ...]
    first: bool
    anchor: str
    kind: str = "leaf"


Row = Opening | Closing | Leaf


class _Below(NamedTuple):
    """A branch not yet drawn: what stands before its path in the names of its layers, and the path."""

    above: str
    path: str
    node: Branch


def rows(model: ModelFact, anchors: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows of the tree; every opening has its closing.

    ``anchors`` are ids of the layers that findings lead to, by dotted name.
    """
    everything = len(model.layers) <= FEW
    waiting = [_inside(_Below("", "", tree_of(model.layers)), model, anchors)]
    while waiting:
        row = next(waiting[-1], None)
        if row is None:
            waiting.pop()
            if waiting:
                yield Closing()
        elif not isinstance(row, _Below):
            yield row
        elif len(waiting) > _DEEPEST:
            for layer in row.node.layers:
                yield _leaf(layer.name[len(row.above) :], layer, model, anchors)
        else:
            yield _opening(row, everything=everything)
            waiting.append(_inside(row, model, anchors))


def _inside(branch: _Below, model: ModelFact, anchors: Mapping[str, str]) -> Iterator[Leaf | _Below]:
    for layer in branch.node.own:  # the root, or a module that normalises by itself and has children too
        yield _leaf("(itself)", layer, model, anchors)
    above = f"{branch.above}{branch.path}." if branch.path else ""
    for name, child in branch.node.children.items():
        path, inner = shortened(name, child)
        if inner.children:
            yield _Below(above, path, inner)
        else:
            for layer in inner.own:
                yield _leaf(path, layer, model, anchors)


def _opening(branch: _Below, *, everything: bool) -> Opening:
    node = branch.node
    found = Counter(x.verdict for x in node.layers)
    verdicts = tuple((v, found[v]) for v in get_args(Verdict) if found[v])
    is_open = everything or "fails" in found
    return Opening(branch.path, len(node.layers), node.fewest_values, verdicts, is_open)


def _leaf(name: str, layer: LayerFact, model: ModelFact, anchors: Mapping[str, str]) -> Leaf:
    return Leaf(
        name=name,
        verdict=layer.verdict,
        type=class_text(layer.type, layer.num_features),
        values=layer.fewest_values,
        shape=dimensions(layer.calls[0].shape) if layer.calls else "",
        place=layer.source.short if layer.source else "",
        remarks=tuple(_remarks(layer, model)),
        first=layer.verdict == "fails" and layer.name == model.first_failure,
        anchor=anchors.get(layer.name, ""),
    )


def _remarks(layer: LayerFact, model: ModelFact) -> Iterator[str]:
    if len(layer.calls) > 1:
        yield f"called {len(layer.calls):,} times"
    if layer.verdict == "fails" and layer.min_batch_size:
        yield f"holds from batch size {layer.min_batch_size:,}"
    if layer.larger_input:
        yield f"holds with input {dimensions(layer.larger_input)}"
    if layer.reason:
        yield layer.reason
    if layer.aliases:
        yield f"also {', '.join(layer.aliases)}"
    if layer.statistics:
        yield from _statistics(layer.statistics, used=model.mode == "eval")


def _statistics(found: StatisticsFact, *, used: bool) -> Iterator[str]:
    if found.nonfinite:
        yield f"statistics of {found.nonfinite:,} channels are not finite"
    if found.never_updated and used:  # in training every new model is
        yield "statistics never updated"
    if found.collapsed >= 0.005:
        yield f"variance collapsed in {found.collapsed:.0%} of the channels"
