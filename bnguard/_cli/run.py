"""``bnguard run SCRIPT|-m MODULE [ARGS…]``: an unmodified script under the guard."""

from __future__ import annotations

from typing import Annotated

import typer

from bnguard._cli import options
from bnguard._cli.interface.help import Help

HELP = Help(
    examples=(
        ("bnguard run train.py --lr 0.1", "as python train.py --lr 0.1, with a diagnosis where it fails"),
        ("bnguard run --watch train.py", "count single-sample batches that pass"),
        ("bnguard run -m package.train", "as in python -m"),
    ),
    exit_codes=(("any", "that of the script"), ("2", "also: there is no such script or module")),
)


def command(
    program: Annotated[
        list[str], typer.Argument(metavar="SCRIPT [ARGS]...", help="The script, and the arguments that are its own.")
    ],
    module: Annotated[bool, typer.Option("-m", help="SCRIPT is a module's name, as in python -m.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Count single-sample batches that pass without an error.")
    ] = False,
    no_replay: Annotated[
        bool, typer.Option("--no-replay", help="Do not repeat a failed call with one thing changed.")
    ] = False,
    no_cuda_stand_in: options.NoCudaStandIn = False,
) -> int:
    """Run a script as Python would; if a BatchNorm layer fails, say which one and why.

    Options of bnguard stand before the script. The exit code is the script's.
    """
    from bnguard._run import script
    from bnguard._run.supervise import supervise

    name, *arguments = program
    prepared = script.module(name, arguments) if module else script.script(name, arguments)
    return supervise(prepared, replay=not no_replay, watch=watch, cuda_stand_in=not no_cuda_stand_in)
