"""The options that several commands share, declared once."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from bnguard._errors import UsageError
from bnguard._report.formats import FORMATS
from bnguard._report.render import ReportOptions, destinations


def one_of(words: Iterable[str]) -> str:
    """Return the words that an option takes, for its help: a column of options has no room for them."""
    *others, last = words
    return f"One of {', '.join(others)} or {last}."


def among(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes one of these words."""
    known = tuple(words)
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def codes(incomplete: str) -> list[tuple[str, str]]:
    """Complete the code of a rule; its summary stands beside it in shells that show help."""
    from bnguard._rules import CATALOGUE

    return [(rule.code, rule.summary) for rule in CATALOGUE if rule.code.startswith(incomplete.upper())]


def _option(*names: str, text: str, metavar: str | None = None, completion: Callable[[str], Any] | None = None) -> Any:  # noqa: ANN401 - what typer.Option returns
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel="Report", autocompletion=completion)


_HOW = f"How to report: {', '.join(FORMATS)}. Repeat for several."
Format = Annotated[list[str] | None, _option("--format", text=_HOW, metavar="FORMAT", completion=among(FORMATS))]
_TO = "Write the report to this file, - for stdout; the k-th is for the k-th --format."
Output = Annotated[list[Path] | None, _option("--output", text=_TO, metavar="FILE")]
_FROM = ("error", "warning", "never")
_FAIL_ON = _option(
    "--fail-on",
    text="Exit 1 from this severity on: error, warning or never.",
    metavar="SEVERITY",
    completion=among(_FROM),
)
FailOn = Annotated[str, _FAIL_ON]
FailOnOrFile = Annotated[str | None, _FAIL_ON]
_CODES = "codes of rules, separated by commas; prefixes work."
Select = Annotated[
    list[str] | None, _option("--select", text=f"Only these {_CODES}", metavar="CODES", completion=codes)
]
Ignore = Annotated[list[str] | None, _option("--ignore", text=f"Not these {_CODES}", metavar="CODES", completion=codes)]
NoCudaStandIn = Annotated[
    bool, typer.Option("--no-cuda-stand-in", help="Do not take the CPU for CUDA where there is no such device.")
]
Quiet = Annotated[bool, _option("--quiet", "-q", text="Only the findings, or nothing.")]

_STUB = "Stand in for a package that is not installed; repeat for more."
Stubs = Annotated[list[str] | None, typer.Option("--stub", metavar="MODULE", help=_STUB)]
_FAKE = "Random samples for torchvision's data sets: so many, or `real` for as many as the real ones have."
FakeData = Annotated[str | None, typer.Option("--fake-data", metavar="N|real", help=_FAKE)]


def report_options(
    fmt: list[str] | None,
    output: list[Path] | None,
    fail_on: str,
    select: list[str] | None,
    ignore: list[str] | None,
    quiet: bool,
    asked: Iterable[str] = (),
) -> ReportOptions:
    """Check the shared options and return them as one object, or raise UsageError; ``asked`` is what they are for."""
    from bnguard._facts.findings import FAIL_ON

    if fail_on not in FAIL_ON:
        raise UsageError(f"--fail-on {fail_on!r} is not known", hint=f"one of {', '.join(FAIL_ON)}")
    chosen, dropped = _prefixes(select), _prefixes(ignore)
    return ReportOptions(destinations(fmt or (), output or ()), fail_on, chosen, dropped, quiet, shlex.join(asked))


def _prefixes(values: list[str] | None) -> tuple[str, ...]:
    if not values:
        return ()
    from bnguard._rules import CATALOGUE

    return CATALOGUE.prefixes(values)
