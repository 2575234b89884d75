"""Findings as short blocks of text: severity and code, what, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from bnguard.findings import Finding
from bnguard.report.style import SEVERITY_STYLE


def print_findings(findings: Iterable[Finding], console: Console, *, most: int = 12) -> None:
    """Print the findings; what repeats a code beyond ``most`` is counted, not listed."""
    shown = 0
    hidden: dict[str, int] = {}
    for finding in findings:
        if shown >= most:
            hidden[finding.code] = hidden.get(finding.code, 0) + 1
            continue
        shown += 1
        _print_one(finding, console)
    if hidden:
        rest = ", ".join(f"{count} × {code}" for code, count in hidden.items())
        console.print(Text(f"and {rest} more; --format json lists them all", style="dim"))


def _print_one(finding: Finding, console: Console) -> None:
    style = SEVERITY_STYLE[finding.severity]
    console.print(Text.assemble((f"{finding.severity.label} {finding.code}", style), "  ", finding.message))
    if finding.location is not None:
        console.print(Padding(Text(f"built at {finding.location}", style="dim"), (0, 0, 0, 2)))
    if finding.fix:
        console.print(Padding(Text.assemble(("fix: ", "bold"), finding.fix), (0, 0, 0, 2)))
