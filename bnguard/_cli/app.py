"""The entry point: the commands, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from bnguard import __version__
from bnguard._cli import plain
from bnguard._errors import BnguardError, UsageError

COMMANDS: dict[str, tuple[str, str, bool]] = {
    "scan": ("bnguard._cli.scan", "command", True),
    "audit-loader": ("bnguard._cli.audit_loader", "command", True),
    "check": ("bnguard._cli.check", "command", False),
    "run": ("bnguard._cli.run", "command", True),
    "preflight": ("bnguard._cli.preflight", "command", True),
    "fix": ("bnguard._cli.fix", "command", True),
    "explain-error": ("bnguard._cli.explain_error", "command", False),
    "rules": ("bnguard._cli.explain", "rules", False),
    "explain": ("bnguard._cli.explain", "explain", True),
}
"""Module and function of each command, and whether it shows its help when called without arguments."""

PASS_THROUGH = ("run", "preflight")
"""What follows the first argument of these commands belongs to the user's script, ``--`` included."""


def application(argv: Sequence[str] = ()) -> typer.Typer:
    """Return the command line: with the one command that ``argv`` starts with, else with all of them.

    A command that is not asked for is not imported; that is a good part of the time a short command takes.
    """
    app = typer.Typer(
        name="bnguard",
        cls=plain.PlainGroup,
        help="Find the BatchNorm layer that a batch of one sample breaks, before training starts.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in argv[:1] if argv and argv[0] in COMMANDS else COMMANDS:
        module, function, needs_arguments = COMMANDS[name]
        command = getattr(import_module(module), function)
        cls = plain.PassThroughCommand if name in PASS_THROUGH else plain.PlainCommand
        app.command(name, cls=cls, no_args_is_help=needs_arguments)(command)
    app.callback()(_root)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bnguard {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit: 0, 1, 2, 3 as docs/reference/cli.md says, 130 when interrupted."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] and words[0] not in PASS_THROUGH and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # help and rules hold more than some terminals can show
    sys.exit(run(words))


def run(argv: list[str]) -> int:
    """Run one command and return its exit code; what stands after ``--`` becomes the scanned file's arguments."""
    before, after = _partition(argv)
    try:
        result = application(before)(args=before, prog_name="bnguard", standalone_mode=False, obj=after)
    except BnguardError as error:
        show_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - this is the outermost frame: anything left is ours
        return _click_or_bug(error)
    return result if isinstance(result, int) else 0


def _partition(argv: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in argv or argv[0] in PASS_THROUGH:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def show_error(error: BnguardError) -> None:
    """Print the error to stderr: the user's traceback where there is one, one line, one hint."""
    if error.detail:
        print(error.detail.rstrip(), file=sys.stderr)
    print(f"bnguard: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)


def _click_or_bug(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        from bnguard._report.stdout import silence

        show_error(UsageError(f"cannot write to {error.filename or 'stdout'}: {error.strerror}"))
        silence()
        return 2
    show = getattr(error, "show", None)  # click's own errors: a wrong option, a missing argument
    if show is not None and hasattr(error, "exit_code"):
        show()
        return int(error.exit_code)
    if type(error).__name__ == "Abort":
        return 130
    import traceback

    traceback.print_exception(error)
    print(
        f"bnguard {__version__}: this is a bug in bnguard, not in your code. Please report it with the traceback "
        "above at https://github.com/bnguard/bnguard/issues",
        file=sys.stderr,
    )
    return 3
