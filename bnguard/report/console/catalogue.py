"""The rule catalogue for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bnguard.errors import UsageError
from bnguard.report import stdout
from bnguard.report.console.page import Terminal
from bnguard.report.console.symbols import SEVERITY_STYLE, Symbols
from bnguard.report.words import paragraphs

if TYPE_CHECKING:
    from bnguard.rules import Rule


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
        for title, text in (("Why", rule.why), ("What to do", rule.fix)):
            lines += ["", f"### {title} ({rule.code})", ""]
            lines += ["\n\n".join(paragraphs(text))]
    return "\n".join(lines) + "\n"


@stdout.checked()
def show_one(rule: Rule) -> None:
    """Print one rule as a short page: what, why, fix."""
    console = Terminal(width=min(Terminal().width, 88))
    plain = Symbols.of(console.encoding).text
    head = Text.assemble(
        (rule.code, "bold"), "  ", rule.name, "  ", (rule.severity.label, SEVERITY_STYLE[rule.severity])
    )
    console.print(head)
    console.print(plain(Text(rule.summary)))
    for title, text in (("Why", rule.why), ("What to do", rule.fix)):
        console.print(Text(f"\n{title}", style="bold"))
        for paragraph in paragraphs(text):
            console.print(Padding(plain(Text(paragraph)), (0, 0, 0, 2)))
