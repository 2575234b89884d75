"""Findings as a page shows them: the gravest first, those of one rule together, each remedy once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bnguard._facts.findings import Finding, Report, Severity
from bnguard._report.words import advice_of, paragraphs, short_place
from bnguard._rules import rule_of

SHOWN = 10
"""Further findings of one rule stand behind a disclosure."""


@dataclass(frozen=True)
class Item:
    """One finding: ``fix`` is None where the one before says the same; ``anchor`` is the id of the layer's row."""

    message: str
    model: str | None
    place: str | None
    fix: str | None
    anchor: str | None


@dataclass(frozen=True)
class Group:
    """What one rule found; the rule's texts are empty where the catalogue does not have it."""

    code: str
    summary: str
    why: tuple[str, ...]
    remedy: tuple[str, ...]
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Section:
    """All findings of one severity."""

    severity: str
    count: int
    groups: tuple[Group, ...]


def sections_of(report: Report, anchors: Mapping[tuple[str | None, str | None], str]) -> list[Section]:
    """Return the findings by severity.

    ``anchors`` are ids of layers in the page, by target of the model and dotted name.
    """
    several = len({f.model for f in report.findings if f.model}) > 1
    sections = []
    for severity in sorted(Severity, reverse=True):
        by_rule: dict[str, list[Finding]] = {}
        for finding in report.findings:
            if finding.severity is severity:
                by_rule.setdefault(finding.code, []).append(finding)
        groups = tuple(_group(code, tuple(_items(found, anchors, several=several))) for code, found in by_rule.items())
        if groups:
            sections.append(Section(severity.label, sum(len(g.items) for g in groups), groups))
    return sections


def _group(code: str, items: tuple[Item, ...]) -> Group:
    rule = rule_of(code)
    if rule is None:
        return Group(code, "", (), (), items)
    return Group(code, rule.summary, tuple(paragraphs(rule.why)), tuple(advice_of(rule)), items)


def _items(
    findings: Sequence[Finding], anchors: Mapping[tuple[str | None, str | None], str], *, several: bool
) -> Iterator[Item]:
    before = None
    for finding in findings:
        yield Item(
            message=finding.message,
            model=finding.model if several else None,
            place=short_place(finding.location) if finding.location else None,
            fix=finding.fix if finding.fix != before else None,
            anchor=anchors.get((finding.model, finding.layer)),
        )
        before = finding.fix
