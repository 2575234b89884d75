"""A page of the console report: lines that never run over the width, and findings, the same for models and loaders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from bnguard.report.style import SEVERITY_STYLE
from bnguard.report.words import short_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from bnguard.findings import Finding
    from bnguard.report.symbols import Symbols

MOST_FINDINGS = 8
"""The list stops here for each rule; JSON holds all of them."""

NARROW = 30
"""Text with less room than this beside its lead goes below it."""


class Page:
    """The console, and how wide and how plain it is."""

    def __init__(self, console: Console, symbols: Symbols, *, several_models: bool = False) -> None:
        self.console = console
        self.symbols = symbols
        self.several_models = several_models
        """Whether a finding must say whose it is."""

    def line(self, text: Text, indent: int = 0, hanging: int | None = None, lead: Text | None = None) -> None:
        """Print text that never runs over the width.

        Args:
            text: what to wrap.
            indent: columns before the first line, or before the lead.
            hanging: columns before the other lines; those of the first where it is None.
            lead: stands before the first line alone, and the other lines keep clear of it.

        """
        head = Text(" " * indent) + (self.symbols.text(lead) if lead else Text())
        if lead and self.console.width - head.cell_len < NARROW:
            self.console.print(head, soft_wrap=True)
            head = Text(" " * (indent + 4))
        left = head.cell_len if hanging is None else hanging
        plain = self.symbols.text(text)
        room = max(NARROW - 4, self.console.width - max(left, head.cell_len))
        for i, part in enumerate(plain.wrap(self.console, room) if plain.plain else [plain]):
            part.rstrip()
            self.console.print((head if i == 0 else Text(" " * left)) + part, soft_wrap=True)

    def findings(self, findings: Iterable[Finding], most: int = MOST_FINDINGS) -> None:
        """Print the findings, those of one rule together and each remedy once; beyond ``most`` they are counted."""
        remedy = None
        for same in _by_rule(findings):
            # a layer without a remedy of its own repeats the first one's story: its name is enough
            full = [f for i, f in enumerate(same) if i == 0 or f.fix or not f.layer]
            brief = [f.layer for i, f in enumerate(same) if i > 0 and not f.fix and f.layer]
            for finding in full[:most]:
                self._finding(finding, remedy)
                remedy = finding.fix
            left = 2 + len(f"{same[0].severity.label} {same[0].code}  ")
            if brief:
                rest = f" and {len(brief) - most} more" if len(brief) > most else ""
                self.line(Text(", ".join(brief[:most]) + rest), indent=left, lead=Text("as well: ", "bold"))
            if len(full) > most:
                more = f"and {len(full) - most} more {same[0].code} in --format json"
                self.line(Text(more, style="dim"), indent=left)

    def _finding(self, finding: Finding, remedy: str | None) -> None:
        lead = Text(f"{finding.severity.label} {finding.code}  ", SEVERITY_STYLE[finding.severity])
        self.line(Text(finding.message), indent=2, lead=lead)
        place = ", ".join(self._place(finding))
        if place:
            self.line(Text(place, style="dim"), indent=2 + lead.cell_len)
        if finding.fix and finding.fix != remedy:
            self.line(Text(finding.fix), indent=2 + lead.cell_len, lead=Text("fix: ", "bold"))

    def _place(self, finding: Finding) -> Iterator[str]:
        if self.several_models and finding.model and finding.layer is not None:
            yield f"in {finding.model}"
        if finding.location is not None:
            yield f"built at {short_place(finding.location)}"


def _by_rule(findings: Iterable[Finding]) -> Iterator[list[Finding]]:
    groups: dict[tuple[str, int], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.severity), []).append(finding)
    yield from groups.values()
