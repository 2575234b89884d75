"""The report as workflow commands of GitHub Actions: annotations at the lines that built the layers, and a plain list.

The runner keeps ten annotations of each kind a step and drops the rest without a word. So findings of one rule at one
line share an annotation, the gravest come first, and what is left is counted in a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bnguard._facts.findings import Finding, Report, Severity
from bnguard._report.characters import visible
from bnguard._report.formats import Companion, Context
from bnguard._report.places import FileLocation, Places
from bnguard._report.words import named, number, totals
from bnguard._rules import rule_of

COMPANION = Companion("summary", "GITHUB_STEP_SUMMARY")

MOST = 10
"""Annotations of one kind that GitHub keeps of a step."""

_MOST_LISTED = 1000
"""Lines of the list in the step's log."""

_MOST_CHARACTERS = 4000
"""Of a message: the service cuts longer ones at 64 KiB, the page much sooner."""

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


class _Alike(NamedTuple):
    """Findings that one annotation speaks of."""

    severity: Severity
    place: FileLocation | None
    findings: list[Finding]


def render(context: Context) -> str:
    """Return the lines that a step prints: a folded list of everything, annotations, and how many are not shown."""
    report = context.report
    alike = _grouped(report, Places())
    lines = [*_listed(report), *(_problem(p.entry, p.error) for p in report.problems[:MOST])]
    left: dict[Severity, int] = {}
    for severity, command in _COMMANDS.items():
        groups = [group for group in alike if group.severity is severity]
        room = MOST - (min(MOST, len(report.problems)) if severity is Severity.ERROR else 0)
        lines += [_annotation(command, group) for group in groups[:room]]
        left[severity] = sum(len(group.findings) for group in groups[room:])
    more = ", ".join(number(count, s.label) for s, count in left.items() if count)
    if more:
        lines.append(f"bnguard: {more} without an annotation: GitHub shows {MOST} of a kind for a step")
    lines.append(f"bnguard: {totals(report)}")
    return "\n".join(lines) + "\n"


def _grouped(report: Report, places: Places) -> list[_Alike]:
    groups: dict[tuple[object, ...], _Alike] = {}
    for finding in report.findings:
        place = places.of_finding(finding, declared=report.command == "check")
        exact = place is not None and place.line is not None
        # without a line there is nothing that findings of different layers share
        key = (finding.code, finding.severity, place, None if exact else (finding.model, finding.loader, finding.layer))
        groups.setdefault(key, _Alike(finding.severity, place, [])).findings.append(finding)
    return list(groups.values())


def _listed(report: Report) -> Iterator[str]:
    """List every finding, each on one line that no name can turn into a command."""
    if not report.findings:
        return
    yield f"::group::bnguard: {totals(report)}"
    for finding in report.findings[:_MOST_LISTED]:
        where = f" ({visible(', '.join(map(str, finding.places)))})" if finding.places else ""
        yield _inert(f"{finding.severity.label} {finding.code} {visible(finding.message)}{where}")
    if len(report.findings) > _MOST_LISTED:
        yield f"and {len(report.findings) - _MOST_LISTED:,} more"
    yield "::endgroup::"


def _annotation(command: str, group: _Alike) -> str:
    first = group.findings[0]
    rule = rule_of(first.code)
    text = visible(first.message)
    if first.fix:
        text += f"\n{visible(first.fix)}"
    if len(group.findings) > 1:
        others = [visible(f.layer or f.loader or f.model or "?") for f in group.findings[1:]]
        text += f"\nThe same of {named(others, most=5)}"
    title = f"{first.code} {rule.name}" if rule else first.code
    properties = [("title", title)]
    if group.place:
        line = [("line", str(group.place.line))] if group.place.line else []
        properties = [("file", group.place.path), *line, *properties]
    return _command(command, properties, text)


def _problem(entry: str, error: str) -> str:
    return _command("error", [("title", f"bnguard could not check {entry}")], visible(error))


def _command(command: str, properties: Sequence[tuple[str, str]], text: str) -> str:
    joined = ",".join(f"{name}={_property(visible(value))}" for name, value in properties)
    return f"::{command} {joined}::{_data(text[:_MOST_CHARACTERS])}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _inert(line: str) -> str:
    """Break the older form of a command, ``##[…]``, which the runner finds anywhere in a line."""
    return line.replace("##[", "# #[")
