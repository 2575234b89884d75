"""Audited loaders for people: the answer, a picture of each epoch, the findings, the ways out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from bnguard._facts.loaders import runs_text
from bnguard._report import answers, words
from bnguard._report.formats.console.page import MOST_FINDINGS, MOST_NOTES, Page
from bnguard._report.pictures import Cell, Range, ranges_of, series
from bnguard._rules import rule_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from bnguard._facts.findings import Report
    from bnguard._facts.loaders import LoaderFact, Stream
    from bnguard._report.formats.console.symbols import Symbols

MOST_STREAMS = 6
"""Ranks and workers with plans of their own are drawn up to this many lines a loader."""


def print_loaders(report: Report, console: Console, *, quiet: bool) -> None:
    """Print the loaders of a report; see ``console.draw``."""
    page = LoaderPage(console)
    if quiet:
        page.findings(report.findings)
        page.total(report)
        return
    page.answer(answers.of_loaders(report))
    page.line(Text())
    ranged = "range" in report.extra
    if ranged:
        for line in _strips(report, page.symbols, console.width):
            page.line(line)
    else:
        page.pictures(report)
    page.stand_ins(report)
    if page.remarks(report, most=4 if ranged else MOST_NOTES):
        page.line(Text())
    worst_first = sorted(report.findings, key=lambda f: -f.severity) if ranged else report.findings
    page.findings(worst_first, most=3 if ranged else MOST_FINDINGS)
    page.ways_out(report)
    page.total(report)


def _shortened(name: str, most: int) -> Text:
    """Return a name in exactly so many columns; a long one keeps its end, which tells ``train.py:31`` from others."""
    whole = Text(name)
    if whole.cell_len > most:
        end = Text(name[-(most // 2) :])
        while end.cell_len > most // 2:
            end = end[1:]
        whole.truncate(most - end.cell_len, overflow="ellipsis")
        whole.append_text(end)
    whole.pad_right(most - whole.cell_len)
    return whole


class LoaderPage(Page):
    """A page with pictures of epochs."""

    def pictures(self, report: Report) -> None:
        """Draw the epoch of every loader, a line for each plan that its ranks or workers have."""
        widest = min(self.console.width // 4, 24, max((Text(fact.name).cell_len for fact in report.loaders), default=0))
        counts = max((len(words.samples_text(fact)) for fact in report.loaders), default=0)
        for fact in report.loaders:
            head = Text("  ")
            head.append_text(_shortened(fact.name, widest))
            head.append(f"  {words.samples_text(fact):>{counts}}  ", style="dim")
            if not fact.streams:
                word = Text("unknown", style="magenta") if fact.unknown else Text("no batch", style="bold red")
                self.line(word, lead=head)
            for i, stream in enumerate(fact.streams[:MOST_STREAMS]):
                self._stream(head if i == 0 else Text(" " * head.cell_len), fact, stream)
            if len(fact.streams) > MOST_STREAMS:
                more = len(fact.streams) - MOST_STREAMS
                self.line(Text(f"and {more} more plans", "dim"), indent=head.cell_len)
        self.console.print()

    def _stream(self, head: Text, fact: LoaderFact, stream: Stream) -> None:
        row = self.symbols.epoch(stream, "red" if fact.mode == "train" else "yellow")
        row.append("  ")
        row.append(runs_text(stream.batches))
        label = words.ranks_text(fact, stream)
        if label:
            row.append(f"  {label}", style="dim")
        place = words.single_place(fact, stream)
        if place:
            row.append(f"  {self.symbols.arrow} {place}", style="bold red" if fact.mode == "train" else "yellow")
        self.line(row, lead=head)

    def remarks(self, report: Report, most: int = MOST_NOTES) -> int:
        """Print what is unknown, and what else there is to know of the loaders; return how many sentences there are."""
        rules = {code: rule_of(code) for code in {f.code for f in report.findings}}
        counted = {f.loader for f in report.findings if (rule := rules[f.code]) and rule.counts_unused}
        notes = [
            (fact.name, kind, sentence)
            for fact in report.loaders
            for kind, sentence in words.remarks(fact)
            if not (kind == "unused" and fact.name in counted)
        ]
        return self.notes(notes, len(report.loaders), most)

    def ways_out(self, report: Report) -> None:
        """Print the suggestions, numbered for each loader."""
        for name in dict.fromkeys(way.loader for way in report.suggestions):
            self.console.print()
            several = len({way.loader for way in report.suggestions}) > 1
            title = "Ways out" + (f" for {name}" if several else "") + ", cheapest first"
            self.line(Text(title, style="bold"), 2)
            for i, way in enumerate((way for way in report.suggestions if way.loader == name), 1):
                lead = Text(f"{i}  ")
                self.line(Text(way.detail), indent=4, lead=lead)
                if way.call:
                    self.line(Text(way.call, "cyan"), indent=4 + lead.cell_len)


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


def _strips(report: Report, symbols: Symbols, width: int) -> Iterator[Text]:
    """Yield the lines of one strip for each part of the split, no wider than the terminal."""
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
