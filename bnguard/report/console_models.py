"""The part of the console report about models: the answer, the tree of the layers that matter, the findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from bnguard.facts import InputFact, LayerFact, ModelFact
from bnguard.findings import Finding, Report
from bnguard.loader_facts import TIMES
from bnguard.report.console_tree import layer_tree
from bnguard.report.page import Page
from bnguard.report.style import VERDICT_STYLE
from bnguard.report.symbols import Symbols

_HOW_TO_GIVE_INPUTS = (
    "another input: --input 3,224,224 (no batch dimension), or a function bnguard_inputs(batch_size) in the file"
)


def print_models(report: Report, console: Console, *, quiet: bool) -> None:
    """Print every model's section; with ``quiet`` only the findings."""
    page = Page(console, Symbols.of(console.encoding))
    for index, model in enumerate(report.models):
        mine = [f for f in report.findings if f.model == model.target]
        if quiet:
            page.findings(mine)
            continue
        if index:
            page.line(Text())
        _print_model(model, mine, page)


def _print_model(model: ModelFact, findings: Sequence[Finding], page: Page) -> None:
    mark, answer = headline(model, page.symbols)
    page.line(answer, lead=mark)
    page.line(Text())
    for line in (_inputs(model), *model.notes):
        if line:
            page.line(Text(line, style="dim"), indent=2)
    if model.trace_error:
        stopped = "the forward could not be followed to its end: " if model.inputs else ""
        page.line(Text(f"{stopped}{model.trace_error}", "yellow"), indent=2)
    if model.method == "none" and not model.first_failure and model.layers and (model.inputs or not model.trace_error):
        page.line(Text(_HOW_TO_GIVE_INPUTS, style="dim"), indent=2)
    if model.trace_traceback and not model.first_failure:
        for row in model.trace_traceback.splitlines():
            page.line(Text(row, style="dim"), indent=2, hanging=6)
    if model.layers:
        page.line(Text())
        page.console.print(Padding(layer_tree(model, page.symbols), (0, 0, 0, 2), expand=False))
    if findings:
        page.line(Text())
        page.findings(findings)


def headline(model: ModelFact, symbols: Symbols) -> tuple[Text, Text]:
    """Answer the reader's question, and count the layers by verdict."""
    mark, answer = _answer(model, symbols)
    return mark, Text.assemble(answer, " ", _counts(model))


def _answer(model: ModelFact, symbols: Symbols) -> tuple[Text, Text]:
    """Answer the reader's question: a mark, and a sentence that begins with the target."""
    mode = "" if model.mode == "train" else " in eval mode"
    size = f"batch size {model.batch_size}{mode}"
    target = (f"{model.target}: ", "bold")
    tick, cross, unsure = (
        Text(f"{symbols.tick} ", "green"),
        Text(f"{symbols.cross} ", "bold red"),
        Text("? ", "magenta"),
    )
    if not model.layers:
        return tick, Text.assemble(target, f"{size} cannot break a normalisation layer.")
    first = next((x for x in model.layers if x.name == model.first_failure and x.verdict == "fails"), None)
    if first is not None:
        return cross, Text.assemble(target, (first.label, "bold red"), f" fails first at {size}: {_why(first)}.")
    if model.method == "none":
        return unsure, Text.assemble(target, f"not known whether {size} breaks a layer.")
    if any(x.verdict == "unknown" for x in model.layers):
        return unsure, Text.assemble(target, f"no layer fails at {size} as far as the forward could be followed.")
    return tick, Text.assemble(target, f"no layer fails at {size}.")


def _why(layer: LayerFact) -> str:
    call = next((c for c in layer.calls if c.raises), None)
    if call is None and layer.reason:
        return f"{layer.type} refuses its input ({layer.reason})"
    if call is None:
        return f"{layer.type} is refused by PyTorch as it is configured"
    per = {"group": "group", "instance": "sample and channel"}.get(layer.kind, "channel")
    values = f"{call.values_per_statistic} value{'s' if call.values_per_statistic != 1 else ''}"
    return f"{layer.type} gets {TIMES.join(map(str, call.shape))}, {values} per {per}"


def _counts(model: ModelFact) -> str:
    if not model.layers:
        return "It has none."
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
        (f"{i.name}=" if i.name else "")
        + TIMES.join(map(str, i.shape))
        + ("" if i.dtype == "float32" else f" {i.dtype}")
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


def _input(fact: InputFact) -> str:
    name = f"{fact.name}=" if fact.name else ""
    return name + TIMES.join(map(str, fact.shape)) + ("" if fact.dtype == "float32" else f" {fact.dtype}")
