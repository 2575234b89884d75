"""Findings as they are read: one paragraph for all places of which a rule says the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bnguard._report.words import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bnguard._facts.findings import Finding


@dataclass
class Paragraph:
    """What a rule says once: the first finding in full, and further layers, whose names are enough."""

    first: Finding
    others: list[Finding] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many findings it stands for."""
        return 1 + len(self.others)

    def takes(self, finding: Finding) -> bool:
        """Whether this finding's layer only needs to be named here.

        That is so where it has no remedy of its own, or the same; in another model also where a remedy of the same kind
        has other numbers in it.
        """
        if finding.layer is None:
            return False
        if not finding.remedies:
            return True
        if finding.loader is not None or self.first.loader is not None:
            return False
        same_kinds = [a.kind for a in finding.remedies] == [a.kind for a in self.first.remedies]
        return finding.remedies == self.first.remedies or (same_kinds and finding.model != self.first.model)


def by_rule(findings: Iterable[Finding]) -> Iterator[list[Paragraph]]:
    """Yield the paragraphs of each rule, those of one severity together, in the order of their first findings."""
    groups: dict[tuple[str, int], list[Paragraph]] = {}
    for finding in findings:
        said = groups.setdefault((finding.code, finding.severity), [])
        paragraph = next((p for p in reversed(said) if p.takes(finding)), None)
        if paragraph is None:
            said.append(Paragraph(finding))
        else:
            paragraph.others.append(finding)
    yield from groups.values()


def layers_text(findings: Iterable[Finding], most: int, *, with_models: bool) -> str:
    """Return the layers of findings in a line, models of the same layers together: ``h, bn in a.py:A, a.py:B; …``."""
    by_model: dict[str | None, list[str]] = {}
    for finding in findings:
        by_model.setdefault(finding.model if with_models else None, []).append(finding.layer or "(the model itself)")
    by_layers: dict[str, list[str]] = {}
    for model, layers in by_model.items():
        by_layers.setdefault(named(layers, most), []).extend([model] if model else [])
    texts = [f"{layers} in {named(models, most)}" if models else layers for layers, models in by_layers.items()]
    return "; ".join(texts[:most]) + (f"; and {len(texts) - most:,} more" if len(texts) > most else "")
