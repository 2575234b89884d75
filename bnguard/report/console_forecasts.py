"""Forecasts for people: whether and where training stops, a picture of each epoch, findings, ways out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from bnguard.report import answers
from bnguard.report.console_loaders import LoaderPage
from bnguard.report.symbols import Symbols

if TYPE_CHECKING:
    from rich.console import Console

    from bnguard.findings import Report
    from bnguard.forecast_facts import ForecastFact


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
    answer = answers.of_forecast(forecast)
    colour = {"unknown": "magenta", "holds": "green"}.get(answer.state, "")
    sentence = Text.assemble((answer.before, colour), (answer.layer or "", "bold"), answer.after)
    return symbols.mark(answer.state), sentence


def _notes(report: Report, page: LoaderPage) -> None:
    for note in dict.fromkeys(n for f in report.forecasts for n in f.notes):
        page.line(
            Text(note, style="dim"), indent=2, lead=Text(f"{'input':9}" if "input" in note else f"{'note':9}", "dim")
        )
    for entry in (*report.extra.get("left_out", ()), *report.extra.get("not_reached", ())):
        page.line(Text(f"{entry['what']}: {entry['why']}", style="dim"), indent=2, lead=Text(f"{'not run':9}", "dim"))
    page.notes(report, most=12)
