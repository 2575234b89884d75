"""The part of the console report about models: the answer, the tree of the layers that matter, the findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from bnguard.facts import LayerFact, ModelFact
from bnguard.findings import Finding, Report
from bnguard.report.console_findings import print_findings
from bnguard.report.style import VERDICT_STYLE

MOST_LINES = 40
"""A tree longer than this hides what it is there to show; deeper branches are then drawn as one line."""

_HOW_TO_GIVE_INPUTS = (
    "another input: --input 3,224,224 (no batch dimension), or a function bnguard_inputs(batch_size) in the model's file"
)


def print_models(report: Report, console: Console, *, quiet: bool) -> None:
    """Print every model's section; with ``quiet`` only those findings that are there."""
    for index, model in enumerate(report.models):
        mine = [f for f in report.findings if f.model == model.target]
        if quiet:
            print_findings(mine, console)
            continue
        if index:
            console.print()
        _print_model(model, mine, console)


def _print_model(model: ModelFact, findings: Sequence[Finding], console: Console) -> None:
    console.print(Text(model.target, style="bold"))
    console.print(_answer(model))
    for line in (_inputs(model), *model.notes):
        if line:
            console.print(Text(line, style="dim"))
    if model.trace_error:
        console.print(Text(f"the forward could not be followed to its end: {model.trace_error}", style="yellow"))
    if model.method == "none" and model.layers and (model.inputs or not model.trace_error):
        console.print(Text(_HOW_TO_GIVE_INPUTS, style="dim"))
    if model.trace_traceback and not model.first_failure:
        console.print(Text(model.trace_traceback.rstrip(), style="dim"))
    if model.layers:
        console.print()
        console.print(_tree(model))
    if findings:
        console.print()
        print_findings(findings, console)


def _answer(model: ModelFact) -> Text:
    """Answer the reader's question in the first sentence."""
    mode = "" if model.mode == "train" else " in eval mode"
    size = f"batch size {model.batch_size}{mode}"
    if not model.layers:
        return Text(f"no normalisation layer: {size} cannot break one", style="green")
    first = next((x for x in model.layers if x.name == model.first_failure and x.verdict == "fails"), None)
    if first is not None:
        call = next((c for c in first.calls if c.raises), first.calls[0])
        gets = f"gets {'×'.join(map(str, call.shape))}, {call.values_per_statistic} value"
        per = {"group": "group", "instance": "sample and channel"}.get(first.kind, "channel")
        why = f"{gets} per {per}" if call.raises else "is refused by PyTorch"
        return Text.assemble(
            ("✗ ", "bold red"),
            (first.label, "bold red"),
            f" ({first.type}) fails first at {size}: it {why}, and the forward raises. {_counts(model)}",
        )
    if model.method == "none":
        return Text.assemble(("? ", "bold magenta"), f"not known whether {size} breaks a layer. {_counts(model)}")
    if any(x.verdict == "unknown" for x in model.layers):
        return Text.assemble(
            ("? ", "bold magenta"),
            f"no layer fails at {size} as far as the forward could be followed. {_counts(model)}",
        )
    return Text.assemble(("✓ ", "bold green"), f"no layer fails at {size}. {_counts(model)}")


def _counts(model: ModelFact) -> str:
    counts = Counter(x.verdict for x in model.layers)
    words = ", ".join(
        f"{n} {'fail' if verdict == 'fails' and n > 1 else verdict}"
        for verdict, n in sorted(counts.items(), key=lambda kv: list(VERDICT_STYLE).index(kv[0]))
    )
    return f"{len(model.layers)} normalisation layer{'s' if len(model.layers) != 1 else ''}: {words}."


def _inputs(model: ModelFact) -> str | None:
    if not model.inputs:
        return None
    shapes = ", ".join(
        (f"{i.name}=" if i.name else "") + "×".join(map(str, i.shape)) + ("" if i.dtype == "float32" else f" {i.dtype}")
        for i in model.inputs
    )
    how = {
        "meta": "followed on shapes alone",
        "fake": "followed on shapes alone",
        "real": "run on the CPU",
        "none": "not followed",
    }[model.method]
    source = model.inputs[0].source
    if source == "assumed":
        example = ",".join(map(str, model.inputs[0].shape[1:])) or "…"
        return f"input {shapes} assumed, {how}; give yours with --input {example}"
    return f"input {shapes} ({source}), {how}"


# ------------------------------------------------------------------------------------ the tree


@dataclass
class _Node:
    layers: list[LayerFact] = field(default_factory=list)
    """All layers at or below this node."""
    own: list[LayerFact] = field(default_factory=list)
    children: dict[str, _Node] = field(default_factory=dict)


def _tree(model: ModelFact) -> Tree:
    root = _Node()
    for layer in model.layers:
        node = root
        node.layers.append(layer)
        for part in layer.name.split(".") if layer.name else ():
            node = node.children.setdefault(part, _Node())
            node.layers.append(layer)
        node.own.append(layer)
    tree = Tree(Text(model.cls, style="bold"), guide_style="dim")
    depth = next((d for d in (99, 4, 3, 2, 1) if _lines(root, d) <= MOST_LINES), 1)
    _grow(tree, root, depth, model)
    return tree


def _whole(node: _Node, depth: int) -> bool:
    """Whether the branch is one line: all its layers alike, or too deep; a failure is always shown by itself."""
    verdicts = {x.verdict for x in node.layers}
    if "fails" in verdicts:
        return False
    return depth <= 0 or (len(node.layers) > 1 and len(verdicts) == 1)


def _lines(node: _Node, depth: int) -> int:
    return 1 if _whole(node, depth) else len(node.own) + sum(_lines(c, depth - 1) for c in node.children.values())


def _grow(tree: Tree, node: _Node, depth: int, model: ModelFact) -> None:
    shown = 0
    for name, child in node.children.items():
        path, inner = _shortened(name, child)
        if shown >= MOST_LINES:
            continue
        shown += 1
        if _whole(inner, depth - 1):
            tree.add(_branch(path, inner))
        elif inner.children:
            _grow(tree.add(Text(path)), inner, depth - 1, model)
        else:
            for layer in inner.own:
                tree.add(_leaf(path, layer, model))
    if len(node.children) > shown:
        tree.add(Text(f"… {len(node.children) - shown} more branches", style="dim"))
    for layer in node.own:  # a module that normalises by itself and has children too, or the root
        tree.add(_leaf("(itself)", layer, model))


def _shortened(name: str, node: _Node) -> tuple[str, _Node]:
    """Join a chain of single children into one line: ``pooling.project.1``."""
    while len(node.children) == 1 and not node.own:
        step, node = next(iter(node.children.items()))
        name = f"{name}.{step}"
    return name, node


def _branch(path: str, node: _Node) -> Text:
    verdicts = Counter(x.verdict for x in node.layers)
    fewest = min((x.fewest_values for x in node.layers if x.fewest_values is not None), default=None)
    text = Text.assemble(path, (f"  {len(node.layers)} layers", "dim"))
    if fewest is not None:
        text.append(f"  ≥ {fewest:,} values", style="dim")
    for verdict, count in verdicts.items():
        text.append("  ")
        text.append(verdict if len(verdicts) == 1 else f"{count} {verdict}", style=VERDICT_STYLE[verdict])
    return text


def _leaf(name: str, layer: LayerFact, model: ModelFact) -> Text:
    width = f"({layer.num_features})" if layer.num_features else ""
    text = Text.assemble(name, (f"  {layer.type}{width}", "dim"))
    values = layer.fewest_values
    if values is not None:
        text.append(f"  {values:,} value{'s' if values != 1 else ''}", style="dim")
    text.append("  ")
    text.append(layer.verdict, style=VERDICT_STYLE[layer.verdict])
    if layer.verdict == "fails" and layer.min_batch_size:
        text.append(f"  needs batch ≥ {layer.min_batch_size}", style="dim")
    if layer.name == model.first_failure and layer.verdict == "fails":
        text.append("  ← first", style="bold red")
    if layer.aliases:
        text.append(f"  = {', '.join(layer.aliases)}", style="dim")
    return text
