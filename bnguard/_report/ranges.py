"""A range of dataset sizes: what each size comes to, a cell a size."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bnguard._facts.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnguard._facts.findings import Report
    from bnguard._facts.loaders import LoaderFact

Cell = Literal["breaks", "warns", "fine", "unknown", "refused"]


@dataclass(frozen=True)
class Range:
    """One part of the split over all sizes of the range.

    Attributes:
        part: of the split, '' where the dataset is not split.
        low: the first size.
        cells: what comes of each size from there on.

    """

    part: str
    low: int
    cells: tuple[Cell, ...]

    def sizes(self, cell: Cell) -> list[int]:
        """Return the sizes that come to this."""
        return [self.low + i for i, one in enumerate(self.cells) if one == cell]


def ranges_of(report: Report) -> Iterator[Range]:
    """Yield one range for each part of the split.

    Args:
        report: of a range, so that each loader says which ``part`` it is and of how large a ``dataset``.

    """
    low, high = report.extra["range"]["from"], report.extra["range"]["to"]
    worst: dict[str, Severity] = {}
    for finding in report.findings:
        name = finding.loader or ""
        worst[name] = max(finding.severity, worst.get(name, Severity.NOTE))
    known = {(fact.part, fact.dataset): fact for fact in report.loaders}
    for part in dict.fromkeys(fact.part for fact in report.loaders):
        facts = (known.get((part, n)) for n in range(low, high + 1))
        yield Range(part, low, tuple(_cell(fact, worst.get(fact.name) if fact else None) for fact in facts))


def _cell(fact: LoaderFact | None, worst: Severity | None) -> Cell:
    if fact is None:
        return "refused"
    if fact.unknown:
        return "unknown"
    return "breaks" if worst is Severity.ERROR else "warns" if worst is Severity.WARNING else "fine"


def series(sizes: Sequence[int]) -> str:
    """Return the sizes; ``9, 17, 25, … 97 (every 8)`` where they are evenly spaced and many."""
    gaps = {b - a for a, b in itertools.pairwise(sizes)}
    every = f" (every {gaps.copy().pop():,})" if len(gaps) == 1 and len(sizes) > 2 and gaps != {1} else ""
    if len(sizes) > 2 and gaps == {1}:
        return f"{sizes[0]:,} to {sizes[-1]:,}"
    if len(sizes) <= 8:
        return ", ".join(f"{n:,}" for n in sizes) + every
    return ", ".join(f"{n:,}" for n in sizes[:6]) + f", … {sizes[-1]:,}" + every
