"""A range of dataset sizes as one strip: a cell a size, coloured where a batch of one sample comes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from rich.text import Text

from bnguard.findings import Report, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnguard.report.symbols import Symbols


def strips(report: Report, symbols: Symbols, width: int) -> Iterator[Text]:
    """Yield the lines of one strip for each part of the split.

    Args:
        report: of a range; loaders are named ``n=9`` or ``train n=9``.
        symbols: what may be printed.
        width: columns of the terminal.

    """
    low, high = report.extra["range"]["from"], report.extra["range"]["to"]
    worst: dict[str, Severity] = {}
    for finding in report.findings:
        name = finding.loader or ""
        worst[name] = max(finding.severity, worst.get(name, Severity.NOTE))
    parts = dict.fromkeys(fact.name.rpartition("n=")[0].strip() for fact in report.loaders)
    known = {fact.name: fact for fact in report.loaders}
    for part in parts:
        lead = f"{part} " if part else ""
        cells = []
        for n in range(low, high + 1):
            name = f"{lead}n={n}"
            fact = known.get(name)
            cells.append("-" if fact is None else "?" if fact.unknown else _cell(worst.get(name)))
        if part:
            yield Text(f"  {part}", style="bold")
        yield from _rows(cells, low, symbols, width)
        yield from _breaks(cells, low)
        yield Text()
    yield _legend({*worst.values()}, symbols)
    yield Text()


def _cell(severity: Severity | None) -> str:
    return "X" if severity is Severity.ERROR else "!" if severity is Severity.WARNING else "."


_FANCY = {"X": "█", "!": "▄", ".": "·", "-": " ", "?": "?"}
_STYLE = {"X": "bold red", "!": "yellow", ".": "green", "-": "dim", "?": "magenta"}


def _rows(cells: Sequence[str], low: int, symbols: Symbols, width: int) -> Iterator[Text]:
    """Yield rows no wider than the terminal, in groups of ten, with the first size of each row before it."""
    digits = len(f"{low + len(cells):,}")
    groups = max(1, (width - digits - 6) // 11)
    for start in range(0, len(cells), groups * 10):
        row = Text(f"  {low + start:>{digits},}  ", style="dim")
        for i, cell in enumerate(cells[start : start + groups * 10]):
            if i and i % 10 == 0:
                row.append(" ")
            row.append(_FANCY[cell] if symbols.fancy else cell, style=_STYLE[cell])
        yield row


def _breaks(cells: Sequence[str], low: int) -> Iterator[Text]:
    for cell, word in (("X", "breaks at"), ("!", "warns at")):
        sizes = [low + i for i, one in enumerate(cells) if one == cell]
        if sizes:
            yield Text(f"  {word} n = {_series(sizes)}", style=_STYLE[cell])


def _series(sizes: Sequence[int]) -> str:
    """Return the sizes; ``9, 17, 25, … 97 (every 8)`` where they are evenly spaced and many."""
    gaps = {b - a for a, b in itertools.pairwise(sizes)}
    every = f" (every {gaps.copy().pop():,})" if len(gaps) == 1 and len(sizes) > 2 and gaps != {1} else ""
    if len(sizes) > 2 and gaps == {1}:
        return f"{sizes[0]:,} to {sizes[-1]:,}"
    if len(sizes) <= 8:
        return ", ".join(f"{n:,}" for n in sizes) + every
    return ", ".join(f"{n:,}" for n in sizes[:6]) + f", … {sizes[-1]:,}" + every


def _legend(severities: set[Severity], symbols: Symbols) -> Text:
    legend = Text("  ")
    shown = [(".", "fine")]
    if Severity.ERROR in severities:
        shown.append(("X", "breaks in training"))
    if Severity.WARNING in severities:
        shown.append(("!", "a warning"))
    for cell, word in shown:
        legend.append(_FANCY[cell] if symbols.fancy else cell, style=_STYLE[cell])
        legend.append(f" {word}   ", style="dim")
    return legend
