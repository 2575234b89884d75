"""The entry point: the commands, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from bnguard import __version__
from bnguard._cli.interface import plain
from bnguard._cli.interface.errors import of_click, require_known, show_error
from bnguard._cli.interface.help import WIDEST, Help
from bnguard._errors import BnguardError, UsageError

COMMANDS = ("preflight", "check", "scan", "audit-loader", "run", "explain-error", "fix", "rules", "explain")
"""In the order of the help. Each is a module of its name in this folder, with ``command`` and ``HELP``."""

HELP = Help(
    examples=(
        ("bnguard preflight train.py", "where does this training stop?"),
        ("bnguard scan model.py", "which layers fail at batch size 1?"),
        ("bnguard audit-loader --n 9 --bs 8", "does a batch of one sample come?"),
        ("bnguard explain-error crash.log", "it crashed: which layer, why, what now?"),
        ("bnguard fix train.py", "the edit to the script"),
    ),
    exit_codes=(
        ("0", "nothing found"),
        ("1", "findings"),
        ("2", "not carried out: a line says why, a second what to do"),
        ("3", "a bug in bnguard"),
    ),
)

PASS_THROUGH = ("run", "preflight")
"""What follows the first argument of these commands belongs to the user's script, ``--`` included."""


def application(argv: Sequence[str] = ()) -> Any:  # noqa: ANN401 - click's group, public or vendored
    """Return the command line: with the one command that ``argv`` starts with, else with all of them.

    A command that is not asked for is not imported; that is a good part of the time a short command takes.
    """
    known = bool(argv) and argv[0] in COMMANDS
    app = typer.Typer(
        name="bnguard",
        cls=plain.PlainGroup,
        help="Find the BatchNorm layer that a batch of one sample breaks, before training starts.",
        no_args_is_help=True,
        add_completion=not known,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
    )
    pages = {}
    for name in argv[:1] if known else COMMANDS:
        module = import_module(f"bnguard._cli.{name.replace('-', '_')}")
        cls = plain.PassThroughCommand if name in PASS_THROUGH else plain.PlainCommand
        app.command(name, cls=cls)(module.command)
        pages[name] = module.HELP
    app.callback()(_root)
    group: Any = typer.main.get_command(app)
    group.page = HELP
    for name, page in pages.items():
        group.commands[name].page = page
    return group


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
        require_known(before, COMMANDS)
        result = application(before).main(args=before, prog_name="bnguard", standalone_mode=False, obj=after)
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


def _click_or_bug(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        from bnguard._report.stdout import silence

        show_error(UsageError(f"cannot write to {error.filename or 'stdout'}: {error.strerror}"))
        silence()
        return 2
    show = getattr(error, "show", None)
    if show is not None and hasattr(error, "exit_code"):  # click's own errors: a wrong option, a missing argument
        if type(error).__name__ == "NoArgsIsHelpError":
            show()
        else:
            show_error(of_click(error))
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
