"""The report for people: rich text, one section a model or loader, the answer in the first line of each."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from bnguard._facts.findings import Report
    from bnguard._report.formats import Context


def show(context: Context) -> None:
    """Print the report to stdout; rich honours NO_COLOR and drops colour in a pipe."""
    from bnguard._report.formats.console.page import Terminal

    draw(context.report, Terminal(), quiet=context.quiet)


def render(context: Context) -> str:
    """Return the report as plain text without colour, for a file."""
    from rich.console import Console

    buffer = io.StringIO()
    plain = Console(file=buffer, width=context.width, highlight=False, color_system=None)
    draw(context.report, plain, quiet=context.quiet)
    return buffer.getvalue()


def draw(report: Report, console: Console, *, quiet: bool = False) -> None:
    """Print the report."""
    if report.forecasts or report.command == "check":
        from bnguard._report.formats.console.forecasts import print_forecasts

        print_forecasts(report, console, quiet=quiet)
        return
    if report.models:
        from bnguard._report.formats.console.models import print_models

        print_models(report, console, quiet=quiet)
    if report.loaders:
        from bnguard._report.formats.console.loaders import print_loaders

        print_loaders(report, console, quiet=quiet)
