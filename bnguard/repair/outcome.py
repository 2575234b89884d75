"""What a fix did to a model, and how to take it back: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from torch import nn


class Steps:
    """The steps of one change; leaving the ``with`` block by an exception takes all of them back, last first."""

    def __init__(self) -> None:
        self._back: list[Callable[[], object]] = []

    def done(self, back: Callable[[], object]) -> None:
        """Note how to take back what was just done."""
        self._back.append(back)

    def take_back(self) -> None:
        """Take everything back; a second time does nothing."""
        while self._back:
            self._back.pop()()

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            self.take_back()


@dataclass(frozen=True)
class Repair:
    """What was done to a model.

    Attributes:
        name: of the fix, such as ``freeze``.
        model: the model with the fix: the very object that was given.
        changed: dotted names of the layers that were changed, in ``named_modules`` order.
        replaced: of a fix that puts other modules in their place: what stood there, by dotted name.
        skipped: dotted names of layers left as they are, and why.
        notes: what the reader should know.
        verified: True where a scan at batch size 1 found the failure gone; None where the forward could not be
            followed, or nobody asked: the notes say which.

    """

    name: str
    model: nn.Module
    changed: tuple[str, ...] = ()
    replaced: Mapping[str, nn.Module] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    verified: bool | None = None
    _steps: Steps = field(default_factory=Steps, repr=False)

    def undo(self) -> None:
        """Take the fix back; what training did meanwhile to the parameters stays. A second time does nothing."""
        self._steps.take_back()

    def __str__(self) -> str:
        count = len(self.changed)
        known = "; verified at batch size 1" if self.verified else "; not verified"
        lines = [f"{self.name}: {count} layer{'s' * (count != 1)} changed{known if count else ''}"]
        lines += [f"  left as it is: {name or '(the model itself)'}: {why}" for name, why in self.skipped.items()]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])
