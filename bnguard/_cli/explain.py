"""``bnguard rules`` and ``bnguard explain CODE``: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer

from bnguard._rules import CATALOGUE


def rules(
    fmt: Annotated[str, typer.Option("--format", metavar="console|json|markdown", help="How to print.")] = "console",
) -> int:
    """List every rule: code, severity, what it finds."""
    from bnguard._report.formats.console import catalogue

    catalogue.show_all(list(CATALOGUE), fmt)
    return 0


def explain(
    code: Annotated[str, typer.Argument(help="A code or a name, as `bnguard rules` lists them.", metavar="CODE")],
) -> int:
    """Explain one rule: what it finds, why it matters, how to fix it."""
    from bnguard._report.formats.console import catalogue

    catalogue.show_one(CATALOGUE.get(code))
    return 0
