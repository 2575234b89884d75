"""The rule catalogue for people and for scripts."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bnguard.errors import UsageError
from bnguard.report.style import SEVERITY_STYLE

if TYPE_CHECKING:
    from bnguard.rules import Rule


def show_all(rules: Sequence[Rule], fmt: str) -> None:
    """Print every rule in one table, or as JSON."""
    if fmt == "json":
        rows = [{"code": r.code, "name": r.name, "severity": r.severity.label, "summary": r.summary} for r in rules]
        sys.stdout.write(json.dumps({"rules": rows}, indent=2) + "\n")
        return
    if fmt != "console":
        raise UsageError(f"--format {fmt!r} is not known", hint="one of console, json")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for rule in rules:
        severity = Text(rule.severity.label, style=SEVERITY_STYLE[rule.severity])
        table.add_row(Text(rule.code, style="bold"), severity, Text(rule.summary))
    console = Console(highlight=False)
    console.print(table)
    console.print(Text("\nbnguard explain CODE says why, and what to do.", style="dim"))


def show_one(rule: Rule) -> None:
    """Print one rule as a short page: what, why, fix."""
    console = Console(highlight=False, width=min(Console().width, 88))
    head = Text.assemble(
        (rule.code, "bold"), "  ", rule.name, "  ", (rule.severity.label, SEVERITY_STYLE[rule.severity])
    )
    console.print(head)
    console.print(Text(rule.summary))
    for title, text in (("Why", rule.why), ("What to do", rule.fix)):
        console.print(Text(f"\n{title}", style="bold"))
        for paragraph in textwrap.dedent(text).strip().split("\n\n"):
            console.print(Padding(Text(" ".join(paragraph.split())), (0, 0, 0, 2)))
