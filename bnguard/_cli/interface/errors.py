"""Errors on stderr: a line that says what is wrong, a second with the next step."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from bnguard._errors import BnguardError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence


def show_error(error: BnguardError) -> None:
    """Print the error to stderr: the user's traceback where there is one, one line, one hint."""
    if error.detail:
        print(error.detail.rstrip(), file=sys.stderr)
    print(f"bnguard: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)


def require_known(argv: Sequence[str], commands: Sequence[str]) -> None:
    """Refuse a first word that names no command; a script's name stands for what can be done with it.

    Raises:
        UsageError: with the near names.

    """
    if not argv or argv[0].startswith("-") or argv[0] in commands:
        return
    hint = did_you_mean(argv[0], commands) or "bnguard --help lists them"
    if argv[0].endswith(".py"):
        hint = f"bnguard preflight {argv[0]} says where its training stops, bnguard scan {argv[0]} judges its models"
    raise UsageError(f"there is no command {argv[0]!r}", hint=hint)


def of_click(error: Any) -> UsageError:  # noqa: ANN401 - click's, public or vendored
    """Return click's error about an option or argument in our form: with the command's name and the next step."""
    context = error.ctx
    said = error.format_message().rstrip(".")
    said = f"{said[:1].lower()}{said[1:]}"
    if context is None:
        return UsageError(said, hint="bnguard --help lists the commands")
    command = context.command_path
    manual = f"`{command} --help` shows all"
    kind = type(error).__name__
    if kind == "MissingParameter" and error.param is not None:
        example = context.command.page.examples[0][0]
        wanted = error.param.metavar.split()[0].removesuffix("...")
        return UsageError(f"`{command}` needs a {wanted}", hint=f"such as `{example}`; {manual}")
    if kind == "NoSuchOption":
        known = [name for param in context.command.params for name in param.opts if name.startswith("--")]
        meant = did_you_mean(error.option_name, known)
        return UsageError(
            f"`{command}` has no option {error.option_name}", hint=f"{meant} {manual}" if meant else manual
        )
    return UsageError(said, hint=manual)
