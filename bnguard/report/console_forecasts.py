"""Forecasts for people: whether and where training stops, a picture of each epoch, findings, ways out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from bnguard.loader_facts import TIMES
from bnguard.report.console_loaders import LoaderPage
from bnguard.report.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bnguard.findings import Report
    from bnguard.forecast_facts import ForecastFact, SizeFact

MOST_SIZES = 6
"""Batch sizes named in an answer."""


def print_forecasts(report: Report, console: Console, *, quiet: bool) -> None:
    """Print the forecasts of a report, one answer a line, then what they rest on.

    Args:
        report: with ``forecasts``.
        console: where to print; its width and encoding are respected.
        quiet: print the findings alone.

    """
    page = LoaderPage(console, Symbols.of(console.encoding))
    if quiet:
        page.findings(report.findings)
        return
    several = len({f.model for f in report.forecasts}) > 1
    for forecast in sorted(report.forecasts, key=_gravity):
        mark, answer = answer_of(forecast, page.symbols)
        if several:
            answer = Text.assemble((f"{forecast.model}: ", "bold"), answer)
        page.line(answer, lead=mark)
    page.line(Text())
    page.pictures(report)
    _notes(report, page)
    page.findings(report.findings)
    page.ways_out(report)


def _gravity(forecast: ForecastFact) -> int:
    return {True: 0, None: 1, False: 2}[forecast.stops]


def answer_of(forecast: ForecastFact, symbols: Symbols) -> tuple[Text, Text]:
    """Answer the reader's question: a mark and one sentence."""
    what = f"{'training' if forecast.mode == 'train' else 'evaluation'} on {forecast.loader}"
    if forecast.stops is None:
        why = forecast.unknown or ""
        return Text("? ", "bold magenta"), Text(f"not known whether {what} stops: {why}", style="magenta")
    if forecast.stops and forecast.at is not None:
        text = Text.assemble(
            f"{what} stops {_place(forecast)}: ", (forecast.at.label, "bold"), f" {_meets(forecast.at)}"
        )
        return Text(f"{symbols.cross} ", "bold red"), text
    sizes = [s.batch_size for s in forecast.sizes]
    because = f"no layer fails at the batch sizes it gives ({sizes_text(sizes)})" if sizes else "it gives no batch"
    return Text(f"{symbols.tick} ", "green"), Text(f"{what} does not stop: {because}", style="green")


def sizes_text(sizes: Sequence[int]) -> str:
    """Return batch sizes in a line; of many the first few."""
    return ", ".join(f"{n:,}" for n in sizes[:MOST_SIZES]) + (", …" if len(sizes) > MOST_SIZES else "")


def _place(forecast: ForecastFact) -> str:
    of = f" of {forecast.steps:,}" if forecast.steps else ""
    text = f"at step {forecast.step:,}{of} of epoch {forecast.epoch}"
    low, high = forecast.ranks or (0, 0)
    if high > low:
        text += f" on ranks {low:,} to {high:,}"
    elif forecast.rank:
        text += f" on rank {forecast.rank:,}"
    if forecast.micro_batch is not None:
        text += f", in micro-batch {forecast.micro_batch:,}"
    if forecast.replica is not None:
        text += f", in replica {forecast.replica:,}"
    return text


def _meets(at: SizeFact) -> str:
    if at.cause == "one-value" and at.shape:
        return f"gets {TIMES.join(map(str, at.shape))}, one value per {at.per}"
    return at.sees


def _notes(report: Report, page: LoaderPage) -> None:
    for note in dict.fromkeys(n for f in report.forecasts for n in f.notes):
        page.line(
            Text(note, style="dim"), indent=2, lead=Text(f"{'input':9}" if "input" in note else f"{'note':9}", "dim")
        )
    page.notes(report, most=12)
