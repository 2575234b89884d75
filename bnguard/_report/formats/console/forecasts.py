"""Forecasts and checks for people: an answer for everything that was asked, then what the answers rest on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text

from bnguard._report.answers import of_report
from bnguard._report.formats.console.loaders import LoaderPage
from bnguard._report.words import named

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
        for entry in (*report.extra.get("left_out", ()), *report.extra.get("not_reached", ())):
            page.line(Text(f"{entry['what']}: {entry['why']}"), indent=2, lead=Text(f"{'not run':9}", "dim"))
        page.stand_ins(report)
        _written(report, page)
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
    page.total(report)


def _written(report: Report, page: LoaderPage) -> None:
    """Print what a script wrote while it was tried, in one line, and each thing that could not be undone."""
    undone = [entry["path"] for entry in report.extra.get("written", ()) if entry["undone"]]
    if undone:
        page.line(Text(f"{named(undone)}: written by the script, and undone"), 2, lead=Text(f"{'undone':9}", "dim"))
    for entry in report.extra.get("written", ()):
        if not entry["undone"]:
            text = f"{entry['path']} was {entry['what']}, and is left so: {entry['reason']}"
            page.line(Text(text), 2, lead=Text(f"{'left':9}", "yellow"))
    for sentence in report.extra.get("not_undone", ()):
        page.line(Text(sentence), 2, lead=Text(f"{'left':9}", "yellow"))


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
