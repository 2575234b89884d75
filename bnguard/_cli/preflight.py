"""``bnguard preflight SCRIPT|-m MODULE [-- ARGS]``: one batch of every kind, and where training stops."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from typing import Annotated

import typer

from bnguard._cli import options
from bnguard._cli.interface.help import Help
from bnguard._cli.interface.passed_on import tell_of_own_options

HELP = Help(
    examples=(
        ("bnguard preflight train.py", "where does it stop?"),
        ("bnguard preflight train.py --lr 0.1", "with the script's own options behind it"),
        ("bnguard preflight --format json train.py", "bnguard's options before it"),
        ("bnguard preflight -m package.train", "as in python -m"),
    ),
    exit_codes=(
        ("0", "nothing stops"),
        ("1", "something stops, or findings at or above --fail-on"),
        ("2", "not carried out, or not known of a training loader: a line says why"),
    ),
)


def command(  # noqa: PLR0913 - one parameter for each option
    ctx: typer.Context,
    program: Annotated[
        list[str],
        typer.Argument(metavar="SCRIPT [ARGS]...", help="The training script, and the arguments that are its own."),
    ],
    module: Annotated[bool, typer.Option("-m", help="SCRIPT is a module's name, as in python -m.")] = False,
    budget: Annotated[
        float,
        typer.Option("--budget", metavar="SECONDS", help="How long to look further than one batch of every kind."),
    ] = 30.0,
    timeout: Annotated[int, typer.Option("--timeout", metavar="SECONDS", help="End when it takes longer.")] = 600,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave what the script writes; otherwise it is undone afterwards.")
    ] = False,
    stubs: options.Stubs = None,
    fake_data: options.FakeData = None,
    no_cuda_stand_in: options.NoCudaStandIn = False,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Exit 0 where it is not known whether a training loader stops.")
    ] = False,
    fmt: options.Format = None,
    output: options.Output = None,
    fail_on: options.FailOn = "error",
    select: options.Select = None,
    ignore: options.Ignore = None,
    quiet: options.Quiet = False,
) -> int:
    """Run a training script with one batch of every kind, and say at which step of the epoch it stops.

    The script's own output goes to stderr. Options of bnguard stand before the script.
    """
    from bnguard import _ranks as ranks
    from bnguard._preflight.launch import ELSEWHERE, preflight
    from bnguard._report.render import emit

    reporting = options.report_options(fmt, output, fail_on, select, ignore, quiet, program)
    tell_of_own_options(ctx, program, is_module=module)
    name, *arguments = program
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the script's processes are ended as well
    tell = None if quiet or not ranks.is_local_leader() else lambda line: print(line, file=sys.stderr)
    report = preflight(
        name,
        arguments,
        module=module,
        budget=budget,
        timeout=timeout,
        keep=keep,
        stubs=stubs or (),
        fake_data=fake_data,
        cuda_stand_in=not no_cuda_stand_in,
        progress=tell,
    )
    if report is ELSEWHERE:
        return 0
    if allow_unknown:
        report = replace(report, forecasts=[replace(f, allow_unknown=True) for f in report.forecasts])
    return emit(report, reporting)
