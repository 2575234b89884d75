"""The part of the console report about models: the answer, the tree of the layers that matter, the findings."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text
from rich.tree import Tree

from bnguard._facts.loaders import dimensions
from bnguard._facts.models import class_text
from bnguard._report import answers, words
from bnguard._report.formats.console.page import Page
from bnguard._report.formats.console.symbols import VERDICT_STYLE, Symbols
from bnguard._report.pictures import Branch, shortened, tree_of
from bnguard._report.places import split_target
from bnguard._report.words import named, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from bnguard._facts.findings import Finding, Report
    from bnguard._facts.models import LayerFact, ModelFact

MOST_LINES = 40
"""A tree longer than this hides what it is there to show; deeper branches are then drawn as one line."""

_Apart = frozenset[str | None]
"""Names of the layers that are shown by themselves: all that fail, or the first of them where they are many."""


def print_models(report: Report, console: Console, *, quiet: bool) -> None:
    """Print the section of a model, or an overview of several; with ``quiet`` only the findings."""
    example = next((m for m in report.models if m.first_failure), report.models[0]).target
    report = _named_in_short(report)
    targets = {model.target for model in report.models}
    findings = sorted((f for f in report.findings if f.model in targets), key=lambda f: -f.severity)
    page = Page(console, several_models=len(report.models) > 1)
    if quiet:
        page.findings(findings)
        return
    if page.several_models:
        _print_overview(report, findings, page)
        if ":" in example:  # it can be typed; that of an object can not
            page.line(Text())
            command = shlex.join(["bnguard", report.command, example])
            page.line(Text(f"one model with its layers and every fix: {command}", style="dim"), indent=2)
    else:
        _print_model(report.models[0], findings, page)
    if report.extra.get("stood_in"):
        page.line(Text())
        page.stand_ins(report)
    page.total(report)


def _named_in_short(report: Report) -> Report:
    """Return the report with ``Net`` for ``model.py:Net``, where all of several models are of one file."""
    short = {model.target: split_target(model.target) for model in report.models}
    if len(short) < 2 or len({file for file, _, _ in short.values()}) > 1 or not all(n for _, _, n in short.values()):
        return report
    models = [replace(model, target=short[model.target][2]) for model in report.models]
    findings = [replace(f, model=short[f.model][2]) if f.model in short else f for f in report.findings]
    return replace(report, models=models, findings=findings)


def _print_overview(report: Report, findings: Sequence[Finding], page: Page) -> None:
    """Print how many models fail, then a line for each, failures first, and what is gravest in a paragraph a rule."""
    for answer in answers.overview(report):
        page.answer(answer)
    page.line(Text())
    for answer in answers.gravest_first(map(answers.in_brief, report.models)):
        page.answer(answer)
    page.line(Text())
    if page.notes(_notes(report), len(report.models)) and findings:
        page.line(Text())
    first_remedies = [replace(f, remedies=f.remedies[:1]) for f in findings if f.severity == report.worst]
    page.findings(first_remedies)
    page.findings_in_brief(f for f in findings if f.severity < report.worst)


def _notes(report: Report) -> Iterator[tuple[str, str, str]]:
    """Yield what there is to know of each model besides its answer, for ``Page.notes``."""
    for model in report.models:
        inputs = words.inputs_text(model)
        if inputs and model.inputs[0].source != "assumed":
            yield model.target, "note", inputs
        for note in model.notes:
            yield model.target, "note", note
    assumed = [m for m in report.models if m.inputs and m.inputs[0].source == "assumed"]
    shapes = dict.fromkeys(dimensions(m.inputs[0].shape) for m in assumed)
    guess = f"assumed input {named(list(shapes))}; " if shapes else ""
    for model in report.models if guess else filter(words.needs_inputs, report.models):
        yield model.target, "note", f"{guess}{words.HOW_TO_GIVE_INPUTS}"


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
