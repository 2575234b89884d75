"""The formats: which module writes each, which files ask for it, and what every one of them is given."""

from __future__ import annotations

from importlib import import_module
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

    """

    report: Report
    exit_code: int | None = None
    quiet: bool = False
    width: int = 100


class Reporter(Protocol):
    """The module of a format."""

    def render(self, context: Context, /) -> str:
        """Return the report as one text."""


class Drawing(Reporter, Protocol):
    """The module of a format that is drawn on a terminal rather than written to it."""

    def show(self, context: Context, /) -> None:
        """Print the report to stdout, in the colours, the width and the encoding that it has."""


class Companion(NamedTuple):
    """A report that is appended to the file that an environment variable names, where it does."""

    format: str
    variable: str


class Format(NamedTuple):
    """How one format is made.

    Attributes:
        module: of this room, a ``Reporter``; imported when the format is asked for.
        endings: of files that ask for this format.
        draws: whether the module is a ``Drawing``.
        companion: what goes with it.

    """

    module: str
    endings: tuple[str, ...] = ()
    draws: bool = False
    companion: Companion | None = None


FORMATS = {
    "console": Format("console", draws=True),
    "json": Format("json", (".json",)),
    "sarif": Format("sarif", (".sarif",)),
    "github": Format("github.annotations", companion=Companion("summary", "GITHUB_STEP_SUMMARY")),
    "summary": Format("github.summary", (".md",)),
    "junit": Format("junit", (".xml",)),
    "html": Format("html", (".html", ".htm")),
}


def reporter(name: str) -> Reporter:
    """Import the module of a format."""
    return cast("Reporter", import_module(f"{__package__}.{FORMATS[name].module}"))


def format_of(file: Path | None) -> str:
    """Return the format that a file's name asks for: console where it asks for none."""
    ending = file.suffix.lower() if file else ""
    return next((name for name, made in FORMATS.items() if ending in made.endings), "console")
