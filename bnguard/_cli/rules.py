"""``bnguard rules``: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer

from bnguard._cli import options
from bnguard._cli.interface.help import NOT_DONE, Help
from bnguard._rules import CATALOGUE

FORMATS = ("console", "json", "markdown")

HELP = Help(
    examples=(
        ("bnguard rules", "a table"),
        ("bnguard rules --format markdown", "all that is known of them, as a page"),
    ),
    exit_codes=(("0", "printed"), NOT_DONE),
)


def command(
    fmt: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help=options.one_of(FORMATS), autocompletion=options.among(FORMATS)),
    ] = "console",
) -> int:
    """List every rule: code, severity, what it finds."""
    from bnguard._report.formats.console import catalogue

    catalogue.show_all(list(CATALOGUE), fmt)
    return 0
