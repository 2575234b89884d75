"""What pictures show, however they are drawn: the tree of a model's layers, and a range of dataset sizes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bnguard._facts.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bnguard._facts.findings import Report
    from bnguard._facts.loaders import LoaderFact
    from bnguard._facts.models import LayerFact

Cell = Literal["breaks", "warns", "fine", "unknown", "refused"]


@dataclass(frozen=True)
class Range:
    """One part of the split, if there is one, over all sizes of the range: what comes of each from ``low`` on."""

    part: str
    low: int
    cells: tuple[Cell, ...]

    def sizes(self, cell: Cell) -> list[int]:
        """Return the sizes that come to this."""
        return [self.low + i for i, one in enumerate(self.cells) if one == cell]


def ranges_of(report: Report) -> Iterator[Range]:
    """Yield one range for each part of the split."""
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


@dataclass
class Branch:
    """A module: the normalisation layers below it, and those that it is itself."""

    layers: list[LayerFact] = field(default_factory=list)
    """All layers at or below this node."""
    own: list[LayerFact] = field(default_factory=list)
    children: dict[str, Branch] = field(default_factory=dict)

    @property
    def fewest_values(self) -> int | None:
        """The smallest number of values per statistic in any layer at or below, None where none is known."""
        return min((x.fewest_values for x in self.layers if x.fewest_values is not None), default=None)


def tree_of(layers: Iterable[LayerFact]) -> Branch:
    """Return the root of the tree; children are in the order in which their layers come."""
    root = Branch()
    for layer in layers:
        node = root
        node.layers.append(layer)
        for part in layer.name.split(".") if layer.name else ():
            node = node.children.setdefault(part, Branch())
            node.layers.append(layer)
        node.own.append(layer)
    return root


def shortened(name: str, node: Branch) -> tuple[str, Branch]:
    """Join a chain of single children into one step: ``pooling.project.1``."""
    while len(node.children) == 1 and not node.own:
        step, node = next(iter(node.children.items()))
        name = f"{name}.{step}"
    return name, node
