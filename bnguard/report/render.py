"""From a report and the reporting options to text on stdout or in a file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bnguard.errors import UsageError
from bnguard.findings import Report
from bnguard.wholefile import write_whole

FORMATS = ("console", "json")


@dataclass(frozen=True)
class ReportOptions:
    """What every reporting command accepts; see docs/reference/cli.md."""

    format: str = "console"
    output: Path | None = None
    fail_on: str = "error"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    quiet: bool = False


def emit(report: Report, options: ReportOptions) -> int:
    """Render the report where the options say; return the exit code, 1 if a finding reaches ``fail_on``."""
    shown = report.filtered(options.select, options.ignore)
    if options.format == "json":
        from bnguard.report import json

        _write(json.render(shown), options.output)
    elif options.output is not None:
        from bnguard.report import console

        _write(console.render_text(shown, quiet=options.quiet), options.output)
    else:
        from bnguard.report import console

        console.show(shown, quiet=options.quiet)
    threshold = {"error": 3, "warning": 2, "never": 99}[options.fail_on]
    return 1 if shown.worst >= threshold else 0


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        write_whole(output, text.encode())
    except OSError as error:
        raise UsageError(
            f"cannot write {output}: {error.strerror or error}",
            hint="name a file in a folder that can be written",
        ) from error
