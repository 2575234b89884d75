"""The report of a check for people: an answer for all that was declared, then what the answers rest on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text

from bnguard.report.answers import Answer, of_report
from bnguard.report.console_loaders import LoaderPage
from bnguard.report.style import STATE_STYLE
from bnguard.report.symbols import Symbols

if TYPE_CHECKING:
    from rich.console import Console

    from bnguard.findings import Problem, Report

MOST_NOTES = 12
MOST_PICTURES = 24
"""Beyond these, JSON holds the rest."""


def print_check(report: Report, console: Console, *, quiet: bool) -> None:
    """Print the report of a check.

    Args:
        report: of several models, loaders and forecasts.
        console: where to print; its width and encoding are respected.
        quiet: print the findings, and what could not be carried out, alone.

    """
    several = len(report.models) > 1
    page = LoaderPage(console, Symbols.of(console.encoding), several_models=several)
    if not quiet:
        for answer in of_report(report):
            page.line(_answer(answer), lead=page.symbols.mark(answer.state))
        page.line(Text())
        _pictures(report, page)
        _notes(report, page)
    page.findings(report.findings)
    if not quiet:
        page.ways_out(report)
    for i, problem in enumerate(report.problems):
        if i or report.findings:
            page.line(Text())
        _problem(problem, page)


def _answer(answer: Answer) -> Text:
    colour = STATE_STYLE[answer.state] if answer.state != "breaks" else ""
    subject = f"{answer.subject}: " if answer.subject else ""
    return Text.assemble((subject, "bold"), (answer.before, colour), (answer.layer or "", "bold"), answer.after)


def _pictures(report: Report, page: LoaderPage) -> None:
    if not report.loaders:
        return
    page.pictures(replace(report, loaders=report.loaders[:MOST_PICTURES]))
    if len(report.loaders) > MOST_PICTURES:
        more = len(report.loaders) - MOST_PICTURES
        page.line(Text(f"and {more} more loaders in --format json", style="dim"), indent=2)
        page.line(Text())


def _notes(report: Report, page: LoaderPage) -> None:
    """Print how the answers were found, each sentence once, with the models that it is said of."""
    every = {f.model for f in report.forecasts}
    said: dict[str, list[str]] = {}
    for forecast in report.forecasts:
        for note in forecast.notes:
            models = said.setdefault(note, [])
            if forecast.model not in models:
                models.append(forecast.model)
    for note, models in list(said.items())[:MOST_NOTES]:
        more = f" and {len(models) - 3} more" if len(models) > 3 else ""
        whose = "" if set(models) == every else f"{', '.join(models[:3])}{more}: "
        page.line(Text(f"{whose}{note}", style="dim"), indent=2, lead=Text(f"{'note':9}", "dim"))
    if len(said) > MOST_NOTES:
        page.line(Text(f"and {len(said) - MOST_NOTES} more notes in --format json", style="dim"), indent=11)
    page.notes(report, most=MOST_NOTES)
    if said and not any(x.notes or x.unknown or x.unused for x in report.loaders):
        page.line(Text())


def _problem(problem: Problem, page: LoaderPage) -> None:
    page.line(Text(problem.error), indent=2, lead=Text(f"{problem.entry}  ", "bold yellow"))
    for row in (problem.detail or "").rstrip().splitlines():
        page.line(Text(row, style="dim"), indent=4, hanging=8)
    lead = Text("hint: ", "bold")
    for row in (problem.hint or "").splitlines():
        page.line(Text(row), indent=4, lead=lead)
        lead = Text()
