"""From a report and the reporting options to texts, in files or on stdout."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from bnguard.errors import UsageError
from bnguard.findings import Report
from bnguard.report import stdout

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = ("console", "json", "sarif", "github", "junit", "html")
"""Each but the first is a module of this room with a function ``render``, imported when it is asked for."""

_THRESHOLDS = {"error": 3, "warning": 2, "never": 99}


class Destination(NamedTuple):
    """One text to make of the report; ``output`` is None for stdout."""

    format: str = "console"
    output: Path | None = None


@dataclass(frozen=True)
class ReportOptions:
    """What every reporting command accepts; see docs/reference/cli.md."""

    destinations: tuple[Destination, ...] = (Destination(),)
    fail_on: str = "error"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    quiet: bool = False


def emit(report: Report, options: ReportOptions) -> int:
    """Render the report wherever the options say, every format from the same findings, and return the exit code.

    That is 2 where something could not be carried out, 1 where a finding reaches ``fail_on``, else 0. The files are
    written before anything is printed, each whole or not at all.

    Raises:
        UsageError: a file or stdout cannot be written.

    """
    shown = report.filtered(options.select, options.ignore)
    code = 2 if shown.problems else int(shown.worst >= _THRESHOLDS[options.fail_on])
    files = [
        (place.output, render_as(place.format, shown, code, quiet=options.quiet))
        for place in options.destinations
        if place.output is not None
    ]
    for path, text in files:
        _write(path, text)
    for place in options.destinations:
        if place.output is None and place.format == "console":
            from bnguard.report import console

            with stdout.checked():
                console.show(shown, quiet=options.quiet)
        elif place.output is None:
            stdout.write(render_as(place.format, shown, code, quiet=options.quiet))
        if place.format == "github":
            from bnguard.report import job_summary

            job_summary.append(shown)
    return code


def render_as(fmt: str, report: Report, code: int | None = None, *, quiet: bool = False) -> str:
    """Return the report as one text; the exit code goes into the formats that hold it."""
    if fmt == "console":
        from bnguard.report import console

        return console.render_text(report, quiet=quiet)
    if fmt == "sarif":
        from bnguard.report import sarif

        return sarif.render(report, exit_code=code)
    text: str = import_module(f"bnguard.report.{fmt}").render(report)
    return text


def _write(output: Path, text: str) -> None:
    from bnguard.wholefile import write_whole

    try:
        write_whole(output, text.encode(errors="replace"))
    except OSError as error:
        raise UsageError(
            f"cannot write {output}: {error.strerror or error}",
            hint="name a file in a folder that can be written",
        ) from error
