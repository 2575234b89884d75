"""The findings as the page shows them: by severity, then by rule, one paragraph for all layers that are alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnguard._facts.findings import Severity
from bnguard._report.paragraphs import by_rule
from bnguard._report.words import advice_of, paragraphs
from bnguard._rules import rule_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnguard._facts.findings import Finding, Place, Report
    from bnguard._remedies import Advice
    from bnguard._report.paragraphs import Paragraph

    Anchors = dict[tuple[str | None, str | None], str]
    """Ids of layers in the page, by target of the model and dotted name."""

SHOWN = 10
"""Further paragraphs and layers of one rule stand behind a disclosure."""


@dataclass(frozen=True)
class Layer:
    """A further layer of a paragraph: ``model`` is None where there is but one, ``anchor`` the id of its row."""

    name: str
    model: str | None
    anchor: str | None


@dataclass(frozen=True)
class Item:
    """One paragraph: ``remedies`` are empty where the paragraph before has the same."""

    message: str
    model: str | None
    places: tuple[Place, ...]
    remedies: tuple[Advice, ...]
    anchor: str | None
    others: tuple[Layer, ...]


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


def sections_of(report: Report, anchors: Anchors) -> list[Section]:
    """Return the findings by severity, the gravest first."""
    several = len({f.model for f in report.findings if f.model}) > 1
    sections = []
    for severity in sorted(Severity, reverse=True):
        found = [f for f in report.findings if f.severity is severity]
        if found:
            groups = tuple(_group(same, anchors, several=several) for same in by_rule(found))
            sections.append(Section(severity.label, len(found), groups))
    return sections


def _group(same: Sequence[Paragraph], anchors: Anchors, *, several: bool) -> Group:
    items, before = [], None
    for paragraph in same:
        items.append(_item(paragraph, anchors, before, several=several))
        before = paragraph.first
    code = same[0].first.code
    rule = rule_of(code)
    if rule is None:
        return Group(code, "", (), (), tuple(items))
    return Group(code, rule.summary, tuple(paragraphs(rule.why)), tuple(advice_of(rule)), tuple(items))


def _item(paragraph: Paragraph, anchors: Anchors, before: Finding | None, *, several: bool) -> Item:
    first = paragraph.first
    return Item(
        message=first.message,
        model=first.model if several else None,
        places=first.places,
        remedies=() if before is not None and first.remedies == before.remedies else first.remedies,
        anchor=anchors.get((first.model, first.layer)),
        others=tuple(
            Layer(f.layer or "(the model itself)", f.model if several else None, anchors.get((f.model, f.layer)))
            for f in paragraph.others
        ),
    )
