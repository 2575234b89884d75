"""The page that GitHub shows below a job: Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bnguard._facts.findings import Severity
from bnguard._report import answers
from bnguard._report.characters import visible
from bnguard._report.words import found, totals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnguard._facts.findings import Finding, Report
    from bnguard._report.formats import Context

ENDINGS = (".md",)

_MOST_ROWS = 200
"""Findings on the page: the runner throws a summary above 1 MiB away."""

_MOST_CHARACTERS = 1000
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")
"""What Markdown, GitHub's tables and formulas are made of, inside a line."""

_ICONS = {Severity.ERROR: "🛑", Severity.WARNING: "⚠️", Severity.NOTE: "\N{INFORMATION SOURCE}\ufe0f"}
_MARKS: dict[answers.State, str] = {"breaks": "🛑", "unknown": "❔", "warns": "⚠️", "holds": "✅"}


def render(context: Context) -> str:
    """Return the page: the counts, the answers, a table of the findings, the ways out."""
    report = context.report
    lines = list(_answers(report))
    lines += [""] if lines else []
    return "\n".join(
        [f"## bnguard: {totals(report)}", "", *lines, *_table(report), *_suggestions(report), *_fixable(report), ""]
    )


def _answers(report: Report) -> Iterator[str]:
    for problem in report.problems[:_MOST_ROWS]:
        yield f"- ❗ **{_cell(problem.entry)}** could not be checked: {_cell(problem.error)}"
    of_forecasts = [answers.of_forecast(f) for f in report.forecasts[:_MOST_ROWS]]
    for answer in (
        *answers.overview(report),
        *of_forecasts,
        *answers.gravest_first(answers.beside_forecasts(report))[:_MOST_ROWS],
    ):
        subject = f"**{_cell(answer.subject)}**: " if answer.subject else ""
        layer = f"**{_cell(answer.layer)}**" if answer.layer is not None else ""
        yield f"- {_MARKS[answer.state]} {subject}{_cell(answer.before)}{layer}{_cell(answer.after)}"


def _table(report: Report) -> Iterator[str]:
    if not report.findings:
        return
    yield "| | rule | where | what |"
    yield "|---|---|---|---|"
    worst_first = sorted(report.findings, key=lambda f: -f.severity)
    yield from map(_row, worst_first[:_MOST_ROWS])
    if len(worst_first) > _MOST_ROWS:
        yield f"\nand {len(worst_first) - _MOST_ROWS:,} more"


def _row(finding: Finding) -> str:
    where = finding.layer or finding.loader or finding.model or ""
    place = f"<br>{_cell(', '.join(map(str, finding.places)))}" if finding.places else ""
    fix = f"<br>→ {_cell(finding.fix)}" if finding.fix else ""
    what = f"{_cell(finding.message)}{fix}"
    return f"| {_ICONS[finding.severity]} | {_cell(finding.code)} | {_cell(where)}{place} | {what} |"


def _suggestions(report: Report) -> Iterator[str]:
    if report.suggestions:
        yield "\n**Ways out, cheapest first**\n"
    for suggestion in report.suggestions[:_MOST_ROWS]:
        yield f"1. {_cell(suggestion.loader)}: {_cell(suggestion.detail)}"


def _fixable(report: Report) -> Iterator[str]:
    if report.fixable:
        yield f"\n{found(report)}:\n\n```sh\n{report.fix_command}\n```"


def _cell(text: str) -> str:
    """Return text that stays what it is in a table of GitHub's Markdown."""
    plain = visible(text[:_MOST_CHARACTERS]) + ("…" if len(text) > _MOST_CHARACTERS else "")
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)
