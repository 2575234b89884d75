"""The options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnguard._errors import UsageError
from bnguard._report.formats import FORMATS
from bnguard._report.render import ReportOptions, destinations

Format = Annotated[
    list[str] | None,
    typer.Option(
        "--format", help="How to report; repeat for several.", metavar="|".join(FORMATS), rich_help_panel="Report"
    ),
]
Output = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        help="Write the report to this file, - for stdout; the k-th is for the k-th --format.",
        metavar="FILE",
        rich_help_panel="Report",
    ),
]
_FAIL_ON = typer.Option(
    "--fail-on", help="Exit 1 from this severity on.", metavar="error|warning|never", rich_help_panel="Report"
)
FailOn = Annotated[str, _FAIL_ON]
FailOnOrFile = Annotated[str | None, _FAIL_ON]
Select = Annotated[
    list[str] | None,
    typer.Option("--select", help="Only these codes; prefixes work.", metavar="CODES", rich_help_panel="Report"),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option("--ignore", help="Not these codes; prefixes work.", metavar="CODES", rich_help_panel="Report"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the findings, or nothing.", rich_help_panel="Report")]


def report_options(
    fmt: list[str] | None,
    output: list[Path] | None,
    fail_on: str,
    select: list[str] | None,
    ignore: list[str] | None,
    quiet: bool,
) -> ReportOptions:
    """Check the shared options and return them as one object, or raise UsageError."""
    if fail_on not in ("error", "warning", "never"):
        raise UsageError(f"--fail-on {fail_on!r} is not known", hint="one of error, warning, never")
    chosen, dropped = codes(select), codes(ignore)
    if chosen or dropped:
        from bnguard._rules import CATALOGUE

        CATALOGUE.require_prefixes((*chosen, *dropped))
    return ReportOptions(destinations(fmt or (), output or ()), fail_on, chosen, dropped, quiet)


def codes(values: list[str] | None) -> tuple[str, ...]:
    """Split repeated and comma-separated codes: ``BN1,DL101`` → ``("BN1", "DL101")``."""
    return tuple(part.strip().upper() for value in values or () for part in value.split(",") if part.strip())
