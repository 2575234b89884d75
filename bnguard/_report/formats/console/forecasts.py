"""Forecasts and checks for people: an answer for everything that was asked, then what the answers rest on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text

from bnguard._report.answers import of_report
from bnguard._report.formats.console.loaders import LoaderPage

if TYPE_CHECKING:
    from rich.console import Console

    from bnguard._facts.findings import Problem, Report

_MOST_PICTURES = 24
"""Beyond these, JSON holds the rest."""


def print_forecasts(report: Report, console: Console, *, quiet: bool) -> None:
    """Print the forecasts of a report, and what else was checked; see ``console.draw``."""
    page = LoaderPage(console, several_models=len({m.target for m in report.models}) > 1)
    if not quiet:
        answers = of_report(report)
        named = report.command == "check" or len({answer.subject for answer in answers}) > 1
        for answer in answers:
            page.answer(answer, named=named)
        page.line(Text())
        _pictures(report, page)
        notes = [(f.model, "note", note) for f in report.forecasts for note in f.notes]
        if page.notes(notes, len({f.model for f in report.forecasts})) + page.remarks(report):
            page.line(Text())
    page.findings(report.findings)
    if not quiet:
        page.ways_out(report)
    for i, problem in enumerate(report.problems):
        if i or report.findings:
            page.line(Text())
        _problem(problem, page)


def _pictures(report: Report, page: LoaderPage) -> None:
    if not report.loaders:
        return
    page.pictures(replace(report, loaders=report.loaders[:_MOST_PICTURES]))
    if len(report.loaders) > _MOST_PICTURES:
        more = len(report.loaders) - _MOST_PICTURES
        page.line(Text(f"and {more} more loaders in --format json", style="dim"), indent=2)
        page.line(Text())


def _problem(problem: Problem, page: LoaderPage) -> None:
    page.line(Text(problem.error), indent=2, lead=Text(f"{problem.entry}  ", "bold yellow"))
    for row in (problem.detail or "").rstrip().splitlines():
        page.line(Text(row, style="dim"), indent=4, hanging=8)
    lead = Text("hint: ", "bold")
    for row in (problem.hint or "").splitlines():
        page.line(Text(row), indent=4, lead=lead)
        lead = Text()
