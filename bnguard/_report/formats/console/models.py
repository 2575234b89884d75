"""The part of the console report about models: the answer, the tree of the layers that matter, the findings."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text
from rich.tree import Tree

from bnguard._facts.models import class_text
from bnguard._report import answers, words
from bnguard._report.formats.console.page import Page
from bnguard._report.formats.console.symbols import VERDICT_STYLE, Symbols
from bnguard._report.pictures import Branch, shortened, tree_of
from bnguard._report.words import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bnguard._facts.findings import Finding, Report
    from bnguard._facts.models import LayerFact, ModelFact

MOST_LINES = 40
"""A tree longer than this hides what it is there to show; deeper branches are then drawn as one line."""

_Apart = frozenset[str | None]
"""Names of the layers that are shown by themselves: all that fail, or the first of them where they are many."""


def print_models(report: Report, console: Console, *, quiet: bool) -> None:
    """Print every model's section; with ``quiet`` only the findings."""
    page = Page(console)
    for index, model in enumerate(report.models):
        findings = [f for f in report.findings if f.model == model.target]
        if quiet:
            page.findings(findings)
            continue
        if index:
            page.line(Text())
        _print_model(model, findings, page)
    if not quiet and report.extra.get("stood_in"):
        page.line(Text())
        page.stand_ins(report)


def _print_model(model: ModelFact, findings: Sequence[Finding], page: Page) -> None:
    page.answer(answers.with_counts(model))
    page.line(Text())
    for line in (words.inputs_text(model), *model.notes):
        if line:
            page.line(Text(line, style="dim"), indent=2)
    error = words.trace_error_text(model)
    if error:
        page.line(Text(error, "yellow"), indent=2)
    if words.needs_inputs(model):
        page.line(Text(words.HOW_TO_GIVE_INPUTS, style="dim"), indent=2)
    if model.trace_traceback and not model.first_failure:
        for row in model.trace_traceback.splitlines():
            page.line(Text(row, style="dim"), indent=2, hanging=6)
    if model.layers:
        page.line(Text())
        page.console.print(Padding(_layer_tree(model, page.symbols), (0, 0, 0, 2), expand=False))
    if findings:
        page.line(Text())
        page.findings(findings)


def _layer_tree(model: ModelFact, symbols: Symbols) -> Tree:
    """Return the model's layers as a tree; a branch whose layers are all alike is one line."""
    root = tree_of(model.layers)
    failing = [x.name for x in model.layers if x.verdict == "fails"]
    apart = frozenset(failing if len(failing) <= MOST_LINES else [model.first_failure])
    tree = Tree(Text(model.cls, style="bold"), guide_style="dim")
    depth = next((d for d in (99, 4, 3, 2, 1) if _lines(root, d, apart) <= MOST_LINES), 1)
    _grow(tree, root, depth, model, apart)
    return _written(tree, symbols)


def _written(tree: Tree, symbols: Symbols) -> Tree:
    """Write every label with the characters that the terminal has."""
    if isinstance(tree.label, Text):
        tree.label = symbols.text(tree.label)
    for child in tree.children:
        _written(child, symbols)
    return tree


def _whole(node: Branch, depth: int, apart: _Apart) -> bool:
    """Whether the branch is one line: all its layers alike, or too deep, and none that is shown by itself."""
    if not apart.isdisjoint(x.name for x in node.layers):
        return False
    return depth <= 0 or (len(node.layers) > 1 and len({x.verdict for x in node.layers}) == 1)


def _lines(node: Branch, depth: int, apart: _Apart) -> int:
    if _whole(node, depth, apart):
        return 1
    return len(node.own) + sum(_lines(child, depth - 1, apart) for child in node.children.values())


def _grow(tree: Tree, node: Branch, depth: int, model: ModelFact, apart: _Apart) -> None:
    shown = 0
    for name, child in node.children.items():
        path, inner = shortened(name, child)
        if shown >= MOST_LINES:
            continue
        shown += 1
        if _whole(inner, depth - 1, apart):
            tree.add(_branch(path, inner))
        elif inner.children:
            _grow(tree.add(Text(path)), inner, depth - 1, model, apart)
        else:
            for layer in inner.own:
                tree.add(_leaf(path, layer, model))
    if len(node.children) > shown:
        tree.add(Text(f"… {len(node.children) - shown} more branches", style="dim"))
    for layer in node.own:  # a module that normalises by itself and has children too, or the root
        tree.add(_leaf("(itself)", layer, model))


def _branch(path: str, node: Branch) -> Text:
    verdicts = Counter(x.verdict for x in node.layers)
    fewest = node.fewest_values
    text = Text.assemble(path, (f"  {number(len(node.layers), 'layer')}", "dim"))
    if fewest is not None:
        text.append(f"  ≥ {number(fewest, 'value')}", style="dim")
    for verdict, count in verdicts.items():
        text.append("  ")
        text.append(verdict if len(verdicts) == 1 else f"{count} {verdict}", style=VERDICT_STYLE[verdict])
    return text


def _leaf(name: str, layer: LayerFact, model: ModelFact) -> Text:
    text = Text.assemble(name, (f"  {class_text(layer.type, layer.num_features)}", "dim"))
    values = layer.fewest_values
    if values is not None:
        text.append(f"  {number(values, 'value')}", style="dim")
    text.append("  ")
    text.append(layer.verdict, style=VERDICT_STYLE[layer.verdict])
    if layer.verdict == "fails" and layer.min_batch_size:
        text.append(f"  below batch {layer.min_batch_size}", style="dim")
    if layer.name == model.first_failure and layer.verdict == "fails":
        text.append("  ← first", style="bold red")
    if layer.aliases:
        text.append(f"  = {', '.join(layer.aliases)}", style="dim")
    return text
