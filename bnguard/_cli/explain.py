"""``bnguard explain CODE``: one rule at length."""

from __future__ import annotations

from typing import Annotated

import typer

from bnguard._cli import options
from bnguard._cli.interface.help import NOT_DONE, Help
from bnguard._rules import CATALOGUE

_FIRST = next(iter(CATALOGUE))

HELP = Help(
    examples=(
        (f"bnguard explain {_FIRST.code}", "by code"),
        (f"bnguard explain {_FIRST.name}", "by name"),
    ),
    exit_codes=(("0", "explained"), NOT_DONE),
)


def command(
    code: Annotated[
        str,
        typer.Argument(
            metavar="CODE", help="A code or a name, as `bnguard rules` lists them.", autocompletion=options.codes
        ),
    ],
) -> int:
    """Explain one rule: what it finds, why it matters, how to fix it."""
    from bnguard._report.formats.console import catalogue

    catalogue.show_one(CATALOGUE.get(code))
    return 0
