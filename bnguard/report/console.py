"""The report for people: rich text, one section a model or loader, the answer in the first line of each."""

from __future__ import annotations

import io

from rich.console import Console

from bnguard.findings import Report
from bnguard.report.terminal import Terminal


def show(report: Report, *, quiet: bool = False) -> None:
    """Print the report to stdout; rich honours NO_COLOR and drops colour in a pipe."""
    _print(report, Terminal(), quiet=quiet)


def render_text(report: Report, *, quiet: bool = False, width: int = 100) -> str:
    """Return the report as plain text without colour, for a file."""
    buffer = io.StringIO()
    _print(report, Console(file=buffer, width=width, highlight=False, color_system=None), quiet=quiet)
    return buffer.getvalue()


def _print(report: Report, console: Console, *, quiet: bool) -> None:
    if report.command == "check":
        from bnguard.report import console_check

        console_check.print_check(report, console, quiet=quiet)
        return
    if report.forecasts:
        from bnguard.report import console_forecasts

        console_forecasts.print_forecasts(report, console, quiet=quiet)
        return
    if report.models:
        from bnguard.report import console_models

        console_models.print_models(report, console, quiet=quiet)
    if report.loaders:
        from bnguard.report import console_loaders

        console_loaders.print_loaders(report, console, quiet=quiet)
