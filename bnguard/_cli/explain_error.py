"""``bnguard explain-error [FILE|-]``: the diagnosis of a pasted log."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from bnguard._cli import options
from bnguard._cli.interface.help import NOT_DONE, Help
from bnguard._errors import InputError, UsageError

FORMATS = ("console", "json")

HELP = Help(
    examples=(
        ("bnguard explain-error crash.log", "a log or a traceback"),
        ("python train.py 2>&1 | bnguard explain-error", "what a script prints"),
    ),
    exit_codes=(("0", "there was an error to explain, also one that no normalisation layer caused"), NOT_DONE),
)


def command(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="A log or a traceback; - or nothing for standard input.")
    ] = "-",
    fmt: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help=options.one_of(FORMATS), autocompletion=options.among(FORMATS)),
    ] = "console",
) -> int:
    """Say which layer failed and why, from the text of a traceback alone; nothing is run."""
    if fmt not in FORMATS:
        raise UsageError(f"--format {fmt!r} is not known", hint="one of console, json")
    from bnguard import __version__
    from bnguard._explain_error import diagnose_text, frames_of, log_file
    from bnguard._facts.diagnosis import ONE_VALUE
    from bnguard._fix.told.failures import Line, next_command
    from bnguard._report.formats.json import render_document
    from bnguard._report.stdout import checked, write

    log = log_file.read_log(file)
    if log.cut:
        print(f"bnguard: {log.name} is large: only its last {log_file.MOST // 2**20} MiB are read", file=sys.stderr)
    diagnosis = diagnose_text(log.text)
    if diagnosis is None:
        raise InputError(
            f"{log.name} holds no error that could be explained",
            hint="paste the traceback with its last line, such as `ValueError: Expected more than 1 value …`",
        )
    if diagnosis.cause == ONE_VALUE:
        lines = [Line(frame.file, frame.line, frame.function) for frame in frames_of(log.text)]
        diagnosis = replace(diagnosis, next_command=next_command(lines))
    if fmt == "json":
        document = {"bnguard": __version__, "schema": 1, "command": "explain-error", "diagnosis": diagnosis.to_dict()}
        write(render_document(document))
    else:
        with checked():
            print(diagnosis.text())
    return 0
