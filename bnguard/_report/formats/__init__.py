"""The formats: every module of this folder is one, of its own name; and what each of them is given."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from pathlib import Path

    from bnguard._facts.findings import Report


class Context(NamedTuple):
    """What a reporter knows.

    Attributes:
        report: whose findings are those that were asked for.
        exit_code: what the command exits with; None where no command does.
        quiet: whether the findings are enough, for formats that say more to people.
        width: columns of a text for people; a terminal has its own.
        asked: what the command was given, as it can be typed: targets, or a script with its arguments; empty where
            nobody says.

    """

    report: Report
    exit_code: int | None = None
    quiet: bool = False
    width: int = 100
    asked: str = ""


class Companion(NamedTuple):
    """A report that is appended to the file that an environment variable names, where it does."""

    format: str
    variable: str


class Reporter(Protocol):
    """The module of a format.

    It may have more than ``render``: ``ENDINGS``, those of files that ask for this format; ``COMPANION``, what goes
    with it; and ``show(context)``, which draws on a terminal what it would otherwise write.
    """

    def render(self, context: Context, /) -> str:
        """Return the report as one text."""


FORMATS = ("console", *sorted({m.name for m in iter_modules(__path__)} - {"console"}))
"""Every module of this folder is a format of its name; one is imported when it is asked for."""


def reporter(name: str) -> Reporter:
    """Import the module of a format."""
    return cast("Reporter", import_module(f"{__name__}.{name}"))


def endings(name: str) -> tuple[str, ...]:
    """Return the endings of files that ask for a format."""
    return getattr(reporter(name), "ENDINGS", ())


def format_of(file: Path | None) -> str:
    """Return the format that a file's name asks for: console where it asks for none."""
    ending = file.suffix.lower() if file else ""
    return next((name for name in FORMATS if ending in endings(name)), "console") if ending else "console"
