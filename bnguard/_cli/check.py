"""``bnguard check``: what ``[tool.bnguard]`` declares, in one report; ``--init`` writes such a section."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bnguard._cli import options
from bnguard._cli.interface.help import Help

HELP = Help(
    examples=(
        ("bnguard check --init", "write a configuration to begin with"),
        ("bnguard check", "everything that is declared"),
        ("bnguard check --entry net", "one model, loader or script of it"),
        ("bnguard check --format github", "annotations in a workflow of GitHub Actions"),
    ),
)


def command(  # noqa: PLR0913 - one parameter for each option
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="The configuration; else the nearest one, from here upward."),
    ] = None,
    entries: Annotated[
        list[str] | None,
        typer.Option("--entry", metavar="NAME", help="Only this model, loader or script; repeat for more."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", metavar="N", help="Processes at a time; as many as CPU cores, 1: this one alone."),
    ] = None,
    init: Annotated[
        bool, typer.Option("--init", help="Write a configuration from what is found in this folder.")
    ] = False,
    no_cuda_stand_in: options.NoCudaStandIn = False,
    fmt: options.Format = None,
    output: options.Output = None,
    fail_on: options.FailOnOrFile = None,
    select: options.Select = None,
    ignore: options.Ignore = None,
    quiet: options.Quiet = False,
) -> int:
    """Forecast, scan and audit what pyproject.toml (or bnguard.toml) declares, and report on all of it at once."""
    if init:
        from bnguard._check.init import write_configuration

        print(write_configuration(Path.cwd()))
        return 0
    from bnguard._check.config import read_declarations
    from bnguard._check.run import carry_out_all
    from bnguard._report.formats.console.progress import progress as progress_line
    from bnguard._report.render import emit
    from bnguard._untouched import stdout_set_aside

    what = read_declarations(config)
    if no_cuda_stand_in:
        what = replace(what, cuda_stand_in=False)
    reporting = options.report_options(
        fmt, output, fail_on or what.fail_on, select or list(what.select), ignore or list(what.ignore), quiet
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an interrupt too: the processes are ended as well
    with stdout_set_aside(), progress_line("checking", quiet=quiet) as progress:
        report = carry_out_all(what, entries or (), jobs, progress)
    code = emit(report, reporting)
    if not any(d.output is None for d in reporting.destinations):  # nobody has read yet why the exit code is 2
        for problem in report.problems:
            print(f"bnguard: {problem.entry} was not checked: {problem.error}", file=sys.stderr)
    return code
