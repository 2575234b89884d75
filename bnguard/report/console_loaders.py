"""Audited loaders for people: the answer, a picture of each epoch, the findings, the ways out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from bnguard.findings import Report
from bnguard.loader_facts import LoaderFact, Stream, runs_text
from bnguard.report import answers, console_strip, words
from bnguard.report.page import MOST_FINDINGS, Page
from bnguard.report.style import STATE_STYLE
from bnguard.report.symbols import Symbols

if TYPE_CHECKING:
    from rich.console import Console

MOST_STREAMS = 6
"""Ranks and workers with plans of their own are drawn up to this many lines a loader."""


def print_loaders(report: Report, console: Console, *, quiet: bool) -> None:
    """Print the loaders of a report.

    Args:
        report: from ``audit_loader``.
        console: where to print; its width and encoding are respected.
        quiet: print the findings alone.

    """
    page = LoaderPage(console, Symbols.of(console.encoding))
    if quiet:
        page.findings(report.findings)
        return
    page.line(headline(report, page.symbols))
    page.line(Text())
    ranged = "range" in report.extra
    if ranged:
        for line in console_strip.strips(report, page.symbols, console.width):
            page.line(line)
    else:
        page.pictures(report)
    page.notes(report, most=4 if ranged else 12)
    worst_first = sorted(report.findings, key=lambda f: -f.severity) if ranged else report.findings
    page.findings(worst_first, most=3 if ranged else MOST_FINDINGS)
    page.ways_out(report)


def headline(report: Report, symbols: Symbols) -> Text:
    """Return the answer in one line."""
    answer = answers.of_loaders(report)
    subject = f"{answer.subject}: " if answer.subject else ""
    return symbols.mark(answer.state) + Text(f"{subject}{answer.sentence}", STATE_STYLE[answer.state])


_REMARK_STYLE = {"unknown": "magenta"}


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
        label = words.whose_text(fact, stream)
        if label:
            row.append(f"  {label}", style="dim")
        place = words.lone_place(fact, stream)
        if place:
            row.append(f"  {self.symbols.arrow} {place}", style="bold red" if fact.mode == "train" else "yellow")
        self.line(row, lead=head)

    def notes(self, report: Report, most: int) -> None:
        """Print what is unknown, and what else there is to know; sentences alike are printed once."""
        several = len(report.loaders) > 1
        dropping = {f.loader for f in report.findings if f.code == "DL108"}
        said: dict[str, Text] = {}
        for fact in report.loaders:
            for kind, sentence in words.remarks(fact):
                if not (kind == "unused" and fact.name in dropping):
                    text = Text(f"{fact.name}: {sentence}" if several else sentence)
                    said.setdefault(
                        f"{kind} {sentence}", Text.assemble((f"{kind:9}", _REMARK_STYLE.get(kind, "dim")), text)
                    )
        for text in list(said.values())[:most]:
            self.line(text[9:], indent=2, lead=text[:9])
        if len(said) > most:
            self.line(Text(f"and {len(said) - most} more notes in --format json", style="dim"), indent=11)
        if said:
            self.line(Text())

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
