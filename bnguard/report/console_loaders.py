"""Audited loaders for people: the answer, a picture of each epoch, the findings, the ways out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from bnguard.findings import Finding, Report, Severity
from bnguard.loader_facts import LoaderFact, Stream, runs_text
from bnguard.report import console_strip
from bnguard.report.page import MOST_FINDINGS, Page
from bnguard.report.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
    errors = [f for f in report.findings if f.severity is Severity.ERROR]
    warnings = [f for f in report.findings if f.severity is Severity.WARNING]
    unknown = [fact for fact in report.loaders if fact.unknown]
    if errors:
        return Text(f"{symbols.cross} {_answer(errors, report)}", style="bold red")
    if unknown:
        names = _names(fact.name for fact in unknown)
        return Text(f"? {names}: the batch sizes are not known, so nothing is said to be safe", style="bold magenta")
    if warnings:
        return Text(f"! {_answer(warnings, report)}", style="bold yellow")
    smallest = min((fact.smallest for fact in report.loaders if fact.smallest), default=0)
    hidden = [fact.name for fact in report.loaders if fact.first_single and fact.mode == "train"]
    if hidden:  # the finding was ignored; the fact remains
        return Text(f"! {_names(hidden)}: {_ANSWERS['DL101']}, though no finding shows it", style="bold yellow")
    lone = [fact.name for fact in report.loaders if fact.first_single]
    if lone:
        return Text(
            f"{symbols.tick} {_names(lone)}: batches of one sample, safe after model.eval()",
            style="bold green",
        )
    return Text(f"{symbols.tick} no batch of one sample; the smallest holds {smallest:,}", style="bold green")


_ANSWERS = {
    "DL101": "a batch of one sample comes in training",
    "DL102": "a batch of one sample comes in evaluation, safe only after model.eval()",
    "DL103": "every training batch holds one sample",
    "DL104": "a piece of a batch holds one sample",
    "DL105": "no batch at all",
    "DL106": "a worker's tail holds one sample",
    "DL108": "no batch of one sample, but much of the data is dropped",
}


def _answer(findings: Sequence[Finding], report: Report) -> str:
    first = findings[0]
    alike = [f.loader or "" for f in findings if f.code == first.code]
    if "range" in report.extra:
        span = report.extra["range"]
        broken = len({(f.loader or "").rpartition("n=")[2] for f in findings})
        return f"{broken} of {span['to'] - span['from'] + 1} sizes: {_ANSWERS.get(first.code, first.code)}"
    lone = next((fact.first_single for fact in report.loaders if fact.name == first.loader), None)
    if lone and len(findings) == 1 and first.code == "DL101":
        return f"{first.loader}: a batch of one sample comes at step {lone.step:,} of {lone.steps:,}"
    return f"{_names(alike)}: {_ANSWERS.get(first.code, first.code)}"


def _names(names: Iterable[str]) -> str:
    every = list(dict.fromkeys(names))
    return ", ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")


class LoaderPage(Page):
    """A page with pictures of epochs."""

    def pictures(self, report: Report) -> None:
        """Draw the epoch of every loader, a line for each plan that its ranks or workers have."""
        widest = min(self.console.width // 4, 24, max((Text(fact.name).cell_len for fact in report.loaders), default=0))
        counts = max((len(_samples(fact)) for fact in report.loaders), default=0)
        for fact in report.loaders:
            head = Text("  ")
            name = Text(fact.name)
            name.truncate(widest, overflow="ellipsis", pad=True)
            head.append_text(name)
            head.append(f"  {_samples(fact):>{counts}}  ", style="dim")
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
        label = _label(fact, stream)
        if label:
            row.append(f"  {label}", style="dim")
        lone = fact.first_single
        mine = lone and stream.ranks[0] <= lone.rank <= stream.ranks[1]
        if mine and lone and (lone.worker is None or (stream.workers and stream.workers[0] == lone.worker)):
            place = f"  {self.symbols.arrow} 1 sample, step {lone.step:,} of {lone.steps:,}"
            if lone.replica is not None:
                place += f", replica {lone.replica}"
            elif lone.micro_batch is not None:
                place += f", micro-batch {lone.micro_batch}"
            row.append(place, style="bold red" if fact.mode == "train" else "yellow")
        self.line(row, lead=head)

    def notes(self, report: Report, most: int) -> None:
        """Print what is unknown, and what else there is to know; sentences alike are printed once."""
        several = len(report.loaders) > 1
        dropping = {f.loader for f in report.findings if f.code == "DL108"}
        said: dict[str, Text] = {}
        for fact in report.loaders:
            for style, kind, sentence in _remarks(fact):
                if not (kind == "unused" and fact.name in dropping):
                    text = Text(f"{fact.name}: {sentence}" if several else sentence)
                    said.setdefault(f"{kind} {sentence}", Text.assemble((f"{kind:9}", style), text))
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


def _samples(fact: LoaderFact) -> str:
    if fact.samples is None:
        return "? samples"
    return f"{fact.samples:,} sample{'s' * (fact.samples != 1)}"


def _label(fact: LoaderFact, stream: Stream) -> str:
    parts = []
    if fact.world_size > 1:
        low, high = stream.ranks
        everyone = (low, high) == (0, fact.world_size - 1)
        span = f"{low:,}" if low == high else f"{low:,}-{high:,}"
        parts.append(f"each of {fact.world_size:,} ranks" if everyone else f"rank{'s' * (low != high)} {span}")
    if stream.workers:
        low, high = stream.workers
        parts.append(f"worker {low}" if low == high else f"each of workers {low}-{high}")
    return ", ".join(parts)


def _remarks(fact: LoaderFact) -> Iterator[tuple[str, str, str]]:
    if fact.unknown:
        yield "magenta", "unknown", fact.unknown
    for note in fact.notes:
        yield "dim", "note", note
    if fact.unused and fact.samples:
        yield "dim", "unused", f"{fact.unused:,} of {fact.samples:,} samples are not shown in an epoch"
