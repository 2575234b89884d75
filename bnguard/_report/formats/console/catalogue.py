"""The rule catalogue for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bnguard._errors import UsageError
from bnguard._report import stdout
from bnguard._report.formats.console.page import Page, Terminal
from bnguard._report.formats.console.symbols import SEVERITY_STYLE, Symbols
from bnguard._report.words import examples_of, paragraphs, remedies_of

if TYPE_CHECKING:
    from bnguard._rules import Rule


@stdout.checked()
def show_all(rules: Sequence[Rule], fmt: str) -> None:
    """Print every rule in one table, or as JSON."""
    if fmt == "json":
        rows = [{"code": r.code, "name": r.name, "severity": r.severity.label, "summary": r.summary} for r in rules]
        stdout.write(json.dumps({"rules": rows}, indent=2) + "\n")
        return
    if fmt == "markdown":
        stdout.write(as_markdown(rules))
        return
    if fmt != "console":
        raise UsageError(f"--format {fmt!r} is not known", hint="one of console, json, markdown")
    console = Terminal()
    plain = Symbols.of(console.encoding).text
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for rule in rules:
        severity = Text(rule.severity.label, style=SEVERITY_STYLE[rule.severity])
        table.add_row(Text(rule.code, style="bold"), severity, plain(Text(rule.summary)))
    console.print(table)
    console.print(Text("\nbnguard explain CODE says why, and what to do.", style="dim"))


def as_markdown(rules: Sequence[Rule]) -> str:
    """Return the catalogue as a page; docs/reference/rules.md is this text."""
    lines = ["# Rules", "", "Made from the catalogue by `bnguard rules --format markdown`.", ""]
    lines += ["| code | severity | finds |", "|---|---|---|"]
    lines += [f"| [{r.code}](#{r.code.lower()}) | {r.severity.label} | {r.summary} |" for r in rules]
    for rule in rules:
        lines += ["", f"## {rule.code}", "", f"**{rule.name}** · {rule.severity.label} · {rule.summary}"]
        lines += ["", f"### Why ({rule.code})", "", "\n\n".join(paragraphs(rule.why))]
        lines += ["", f"### What to do ({rule.code})", ""]
        lines += [f"- {does}{f': `{line}`' if line else ''}" for does, line in remedies_of(rule)]
        lines += ["", "\n\n".join(paragraphs(rule.fix))]
        for title, code in examples_of(rule):
            lines += ["", f"{title}:", "", "```python", code, "```"]
    return "\n".join(lines) + "\n"


@stdout.checked()
def show_one(rule: Rule) -> None:
    """Print one rule as a short page: what, why, what to do, a wrong and a right example."""
    page = Page(Terminal(width=min(Terminal().width, 88)))
    page.line(
        Text.assemble((rule.code, "bold"), f"  {rule.name}  ", (rule.severity.label, SEVERITY_STYLE[rule.severity]))
    )
    page.line(Text(rule.summary))
    _title(page, "Why")
    for paragraph in paragraphs(rule.why):
        page.line(Text(paragraph), indent=2)
    _title(page, "What to do")
    for does, line in remedies_of(rule):
        page.line(Text(does), indent=2, lead=Text("- "))
        if line:
            page.line(Text(line, "cyan"), indent=4)
    for paragraph in paragraphs(rule.fix):
        page.line(Text(paragraph), indent=2)
    for title, code in examples_of(rule):
        _title(page, title)
        for line in code.splitlines():
            page.line(Text(line), indent=2, hanging=6)


def _title(page: Page, title: str) -> None:
    page.line(Text())
    page.line(Text(title, style="bold"))
