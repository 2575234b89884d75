"""A range of dataset sizes as one strip: a cell a size, coloured where a batch of one sample comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from bnguard.report.ranges import Cell, Range, ranges_of, series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnguard.findings import Report
    from bnguard.report.symbols import Symbols


class _Look(NamedTuple):
    fancy: str
    plain: str
    style: str


_LOOKS: dict[Cell, _Look] = {
    "breaks": _Look("█", "X", "bold red"),
    "warns": _Look("▄", "!", "yellow"),
    "fine": _Look("·", ".", "green"),
    "refused": _Look(" ", "-", "dim"),
    "unknown": _Look("?", "?", "magenta"),
}


def strips(report: Report, symbols: Symbols, width: int) -> Iterator[Text]:
    """Yield the lines of one strip for each part of the split.

    Args:
        report: of a range; loaders are named ``n=9`` or ``train n=9``.
        symbols: what may be printed.
        width: columns of the terminal.

    """
    ranges = list(ranges_of(report))
    for one in ranges:
        if one.part:
            yield Text(f"  {one.part}", style="bold")
        yield from _rows(one, symbols, width)
        yield from _breaks(one)
        yield Text()
    yield _legend({cell for one in ranges for cell in one.cells}, symbols)
    yield Text()


def _sign(cell: Cell, symbols: Symbols) -> str:
    return _LOOKS[cell].fancy if symbols.fancy else _LOOKS[cell].plain


def _rows(one: Range, symbols: Symbols, width: int) -> Iterator[Text]:
    """Yield rows no wider than the terminal, in groups of ten, with the first size of each row before it."""
    digits = len(f"{one.low + len(one.cells):,}")
    groups = max(1, (width - digits - 6) // 11)
    for start in range(0, len(one.cells), groups * 10):
        row = Text(f"  {one.low + start:>{digits},}  ", style="dim")
        for i, cell in enumerate(one.cells[start : start + groups * 10]):
            if i and i % 10 == 0:
                row.append(" ")
            row.append(_sign(cell, symbols), style=_LOOKS[cell].style)
        yield row


def _breaks(one: Range) -> Iterator[Text]:
    cells: tuple[tuple[Cell, str], ...] = (("breaks", "breaks at"), ("warns", "warns at"))
    for cell, word in cells:
        sizes = one.sizes(cell)
        if sizes:
            yield Text(f"  {word} n = {series(sizes)}", style=_LOOKS[cell].style)


def _legend(found: set[Cell], symbols: Symbols) -> Text:
    shown: list[tuple[Cell, str]] = [("fine", "fine")]
    if "breaks" in found:
        shown.append(("breaks", "breaks in training"))
    if "warns" in found:
        shown.append(("warns", "a warning"))
    legend = Text("  ")
    for cell, word in shown:
        legend.append(_sign(cell, symbols), style=_LOOKS[cell].style)
        legend.append(f" {word}   ", style="dim")
    return legend
