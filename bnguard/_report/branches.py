"""The layers of a model as the tree that their dotted names make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bnguard._facts.models import LayerFact


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
