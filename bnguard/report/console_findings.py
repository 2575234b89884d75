"""Findings as short blocks of text: severity and code, what, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from bnguard.facts import SourceLine
from bnguard.findings import Finding
from bnguard.report.style import SEVERITY_STYLE


def print_findings(findings: Iterable[Finding], console: Console, *, most: int = 12) -> None:
    """Print the findings, those of one code together; beyond ``most`` they are counted, not listed."""
    groups: dict[tuple[str, int, str | None], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.severity, finding.loader), []).append(finding)
    for same in groups.values():
        # those without a remedy of their own repeat the first one at another layer: their names are enough
        full = [f for i, f in enumerate(same) if i == 0 or f.fix or not f.layer]
        brief = [f.layer or "" for f in same if f not in full]
        for finding in full[:most]:
            _print_one(finding, console)
        if len(full) > most:
            console.print(Text(f"  {len(full) - most} more like this; --format json lists them all", style="dim"))
        if brief:
            rest = f" and {len(brief) - most} more" if len(brief) > most else ""
            console.print(Padding(Text.assemble(("as well: ", "bold"), ", ".join(brief[:most]) + rest), (0, 0, 0, 2), expand=False))


def _print_one(finding: Finding, console: Console) -> None:
    style = SEVERITY_STYLE[finding.severity]
    console.print(Text.assemble((f"{finding.severity.label} {finding.code}", style), "  ", finding.message))
    if finding.location is not None:
        console.print(Padding(Text(f"built at {_short(finding.location)}", style="dim"), (0, 0, 0, 2), expand=False))
    if finding.fix:
        console.print(Padding(Text.assemble(("fix: ", "bold"), finding.fix), (0, 0, 0, 2), expand=False))


def _short(place: SourceLine) -> str:
    """Name a file of an installed package by what follows ``site-packages``: the rest is the machine's, not news."""
    for folder in ("/site-packages/", "/dist-packages/"):
        if folder in place.file:
            return f"{place.file.rpartition(folder)[2]}:{place.line}"
    return str(place)
