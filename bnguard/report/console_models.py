"""The part of the console report about models: the answer, the tree of the layers that matter, the findings."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from bnguard.facts import ModelFact
from bnguard.findings import Finding, Report
from bnguard.report import answers, words
from bnguard.report.console_tree import layer_tree
from bnguard.report.page import Page
from bnguard.report.symbols import Symbols


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
        page.console.print(Padding(layer_tree(model, page.symbols), (0, 0, 0, 2), expand=False))
    if findings:
        page.line(Text())
        page.findings(findings)


def headline(model: ModelFact, symbols: Symbols) -> tuple[Text, Text]:
    """Answer the reader's question: a mark, and a sentence that begins with the target."""
    answer = answers.with_counts(model)
    sentence = Text.assemble(
        (f"{answer.subject}: ", "bold"), answer.before, (answer.layer or "", "bold red"), answer.after
    )
    return symbols.mark(answer.state), sentence
