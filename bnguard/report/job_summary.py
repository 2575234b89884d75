"""The page that GitHub shows below a job: Markdown, appended to the file that the runner names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from bnguard.errors import UsageError
from bnguard.findings import Severity
from bnguard.report.characters import visible
from bnguard.report.github import totals
from bnguard.report.words import short_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnguard.findings import Finding, Report

VARIABLE = "GITHUB_STEP_SUMMARY"

MOST_ROWS = 200
"""Findings on the page: the runner throws a summary above 1 MiB away."""

_MOST_CHARACTERS = 1000
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")
"""What Markdown, GitHub's tables and formulas are made of, inside a line."""

_ICONS = {Severity.ERROR: "🛑", Severity.WARNING: "⚠️", Severity.NOTE: "\N{INFORMATION SOURCE}\ufe0f"}


def append(report: Report) -> None:
    """Append the page to the file in ``GITHUB_STEP_SUMMARY``; do nothing where there is none.

    Raises:
        UsageError: the file cannot be written.

    """
    name = os.environ.get(VARIABLE)
    if not name:
        return
    try:
        with Path(name).open("ab") as file:
            file.write(render(report).encode(errors="replace"))
    except OSError as error:
        raise UsageError(
            f"cannot write the job summary {name}: {error.strerror or error}",
            hint=f"{VARIABLE} names the file; unset it to do without",
        ) from error


def render(report: Report) -> str:
    """Return the page: the counts, where training stops, a table of the findings, the ways out."""
    return "\n".join([f"## bnguard: {totals(report)}", "", *_answers(report), *_table(report), *_ways(report), ""])


def _answers(report: Report) -> Iterator[str]:
    for problem in report.problems[:MOST_ROWS]:
        yield f"- ❗ **{_cell(problem.entry)}** could not be checked: {_cell(problem.error)}"
    for forecast in report.forecasts[:MOST_ROWS]:
        pair = f"**{_cell(forecast.model)}** on **{_cell(forecast.loader)}**"
        if forecast.stops is None:
            yield f"- ❔ {pair}: not known ({_cell(forecast.unknown or '')})"
        elif forecast.stops:
            layer = _cell(forecast.at.label) if forecast.at else "?"
            error = _cell(forecast.error or "an error")
            yield f"- 🛑 {pair} stops{f' at {forecast.place}' if forecast.place else ''}: {error} in **{layer}**"
        else:
            yield f"- ✅ {pair} does not stop"
    if report.problems or report.forecasts:
        yield ""


def _table(report: Report) -> Iterator[str]:
    if not report.findings:
        return
    yield "| | rule | where | what |"
    yield "|---|---|---|---|"
    worst_first = sorted(report.findings, key=lambda f: -f.severity)
    yield from map(_row, worst_first[:MOST_ROWS])
    if len(worst_first) > MOST_ROWS:
        yield f"\nand {len(worst_first) - MOST_ROWS:,} more"


def _row(finding: Finding) -> str:
    where = finding.layer or finding.loader or finding.model or ""
    place = f"<br>{_cell(short_place(finding.location))}" if finding.location else ""
    fix = f"<br>→ {_cell(finding.fix)}" if finding.fix else ""
    what = f"{_cell(finding.message)}{fix}"
    return f"| {_ICONS[finding.severity]} | {_cell(finding.code)} | {_cell(where)}{place} | {what} |"


def _ways(report: Report) -> Iterator[str]:
    if report.suggestions:
        yield "\n**Ways out, cheapest first**\n"
    for way in report.suggestions[:MOST_ROWS]:
        yield f"1. {_cell(way.loader)}: {_cell(way.detail)}"


def _cell(text: str) -> str:
    """Return text that stays what it is in a table of GitHub's Markdown."""
    plain = visible(text[:_MOST_CHARACTERS]) + ("…" if len(text) > _MOST_CHARACTERS else "")
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)
