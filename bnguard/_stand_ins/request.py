"""Which stand-ins are wanted, and what was then asked of them. No torch until a stand-in needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from bnguard._stand_ins.packages import stubbed


@dataclass(frozen=True)
class StandIns:
    """What may be stood in for.

    Attributes:
        packages: names of packages whose import gives a stand-in.

    """

    packages: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> StandIns:
        """Return what ``dataclasses.asdict`` and JSON have made of it."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


class StoodIn(NamedTuple):
    """What the user's code asked for, and what it got instead."""

    what: str
    instead: str


@contextmanager
def standing_in(wanted: StandIns) -> Iterator[list[StoodIn]]:
    """Within the block what is wanted stands in for what is missing; the list fills with what was asked for."""
    found: list[StoodIn] = []

    def tell(what: str, instead: str) -> None:
        if StoodIn(what, instead) not in found:
            found.append(StoodIn(what, instead))

    with ExitStack() as stack:
        stack.enter_context(stubbed(wanted.packages, lambda name: tell(name, "a stand-in for the package")))
        yield found
