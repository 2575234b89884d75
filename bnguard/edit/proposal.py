"""What would be changed in one file, and what would not, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnguard.edit.files import Source


@dataclass(frozen=True)
class Edit:
    """A ``DataLoader(...)`` call that gets a fix.

    Attributes:
        line: of the call, from 1.
        name: what the loader is bound to, as it is written: ``train_loader``, ``loaders["train"]``.
        why: how it is known to feed training, and why its last batch may hold one sample.

    """

    line: int
    name: str
    why: str


@dataclass(frozen=True)
class Left:
    """A ``DataLoader(...)`` call that stays as it is, why, and the next step where there is one."""

    line: int
    name: str
    reason: str


@dataclass(frozen=True)
class Proposal:
    """The edits to one file.

    Attributes:
        source: the file as it was read.
        new: its text with the edits; equal to ``old`` where there are none.
        edits: in the order of their lines.
        left: the calls left alone, in the order of their lines.
        blocked: why calls that need an edit cannot get one in this file; None where they can.
        unmatched: names and lines declared as training or evaluation that no call of this file answers to.

    """

    source: Source
    new: str
    edits: tuple[Edit, ...] = ()
    left: tuple[Left, ...] = ()
    blocked: str | None = None
    unmatched: tuple[str, ...] = ()

    @property
    def old(self) -> str:
        """The text as it was read."""
        return self.source.text

    @property
    def calls(self) -> tuple[Edit | Left, ...]:
        """All DataLoader calls of the file, in the order of their lines."""
        return tuple(sorted((*self.edits, *self.left), key=lambda call: call.line))

    @property
    def new_data(self) -> bytes:
        """The new text in the file's own encoding."""
        return self.source.encode(self.new)
