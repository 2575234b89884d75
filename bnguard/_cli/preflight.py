"""``bnguard preflight SCRIPT|-m MODULE [-- ARGS]``: a script's first training step, and where its epoch would stop."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from bnguard._cli import options


def command(  # noqa: PLR0913 - one parameter for each option
    program: Annotated[
        list[str], typer.Argument(metavar="SCRIPT [-- ARGS]", help="The script, and everything that is its own.")
    ],
    module: Annotated[bool, typer.Option("-m", help="SCRIPT is a module's name, as in python -m.")] = False,
    timeout: Annotated[
        int, typer.Option("--timeout", metavar="SECONDS", help="Give up when the first step takes longer.")
    ] = 600,
    fmt: options.Format = None,
    output: options.Output = None,
    fail_on: options.FailOn = "error",
    select: options.Select = None,
    ignore: options.Ignore = None,
    quiet: options.Quiet = False,
) -> int:
    """Run a training script through its first step, and say at which step of the epoch it would stop.

    No weight moves, and the script's own output goes to stderr. Options of bnguard stand before the script.
    """
    from bnguard import _ranks as ranks
    from bnguard._preflight.launch import preflight
    from bnguard._report.render import emit

    reporting = options.report_options(fmt, output, fail_on, select, ignore, quiet)
    name, *arguments = program
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the script's processes are ended as well
    speaks = ranks.is_local_leader()
    tell = None if quiet or not speaks else lambda line: print(line, file=sys.stderr)
    report = preflight(name, arguments, module=module, timeout=timeout, progress=tell)
    return emit(report, reporting) if speaks else 0
