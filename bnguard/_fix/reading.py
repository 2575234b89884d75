"""One file of the user's, read and understood; and what is the same in several of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnguard._fix.calls import LoaderCall, find_calls
from bnguard._fix.files import Source, read_source
from bnguard._fix.tree import Tree

if TYPE_CHECKING:
    import libcst as cst


@dataclass(frozen=True, eq=False)
class Reading:
    """A file, what it says, and the calls in it that make loaders."""

    source: Source
    tree: Tree
    calls: list[LoaderCall]

    def place(self, node: cst.CSTNode, seen_from: Reading) -> str:
        """Return where a node stands, for a sentence about a line of ``seen_from``: ``line 5``, ``data.py:5``."""
        line = self.tree.line(node)
        return f"line {line}" if self is seen_from else f"{self.source.path}:{line}"

    def stands_for(self, name: str) -> bool:
        """Whether an import under this dotted name can mean this file: ``pkg.data`` for ``src/pkg/data.py``."""
        path = self.source.real
        whole = path.parent if path.stem == "__init__" else path.with_suffix("")
        parts = [part for part in name.split(".") if part]
        return bool(parts) and list(whole.parts[-len(parts) :]) == parts


def read(path: str | Path) -> Reading:
    """Read a file; nothing of it is run.

    Raises:
        FileError: the file cannot be read or is no Python source.

    """
    source = read_source(Path(path))
    tree = Tree(source.text, source.path)
    return Reading(source, tree, find_calls(tree))
