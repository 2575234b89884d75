"""``bnguard fix FILE…``: an edit to the user's own source, as a diff or written."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bnguard._cli.interface.errors import show_error
from bnguard._cli.interface.help import NOT_DONE, Help
from bnguard._errors import FileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bnguard._fix import Declared, Proposal

_In = TypeVar("_In")
_Out = TypeVar("_Out")

HELP = Help(
    examples=(
        ("bnguard fix train.py", "print the change as a diff"),
        ("bnguard fix --write train.py", "make it"),
        ("bnguard fix --train 31 train.py", "the call in line 31 feeds training"),
        ("bnguard fix --model-line freeze train.py", "also a line below each model"),
    ),
    exit_codes=(
        ("0", "nothing to change, or all of it written"),
        ("1", "changes are proposed, or a call is left for you to decide"),
        NOT_DONE,
    ),
)


def command(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Python source that makes DataLoaders.")],
    write: Annotated[
        bool, typer.Option("--write", help="Change the files; git or a backup keeps the old text.")
    ] = False,
    train: Annotated[
        list[str] | None, typer.Option("--train", help="This call feeds training.", metavar="NAME|LINE")
    ] = None,
    evaluate: Annotated[
        list[str] | None, typer.Option("--eval", help="This call feeds evaluation.", metavar="NAME|LINE")
    ] = None,
    model_line: Annotated[
        str | None,
        typer.Option(
            "--model-line",
            help="Call this on each model, below its line, in place of wrapping loaders (but those of --train).",
            metavar="allow_single_sample|freeze",
        ),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="The model that gets the line.", metavar="NAME|LINE")
    ] = None,
) -> int:
    """Give the DataLoaders that feed training a last batch of two samples or more, in their source.

    The files are read, not run. Prints a diff for `git apply` or `patch -p1`; exits with 1 if there is one, or a call
    is left for you to decide.
    """
    from bnguard._fix import Declared, decide, decide_models, proposal_of, read

    _require_line(model_line, models)
    declared = Declared(train or (), evaluate or (), models or ())
    paths = _distinct(files)
    if len(paths) > 1 and any(word.isdecimal() for word in (*declared.train, *declared.evaluate, *declared.models)):
        raise UsageError("a line belongs to one file", hint="name it with its line: --train FILE:LINE")
    readings, failed = _each(paths, read)
    # whoever asks for a model's line has a reason to leave the loaders, unless one of them is named as well
    decisions = decide(readings, declared) if model_line is None or declared.train else {r: [] for r in readings}
    if model_line is not None:
        for reading, more in decide_models(readings, model_line, declared).items():
            decisions[reading] += more
    proposals, also_failed = _each(readings, lambda reading: proposal_of(reading, decisions[reading]))
    failed = failed or also_failed
    if not failed:
        _require_met(declared, proposals)
    for proposal in proposals:
        _say(proposal)
    changed = [proposal for proposal in proposals if proposal.edits]
    failed = failed or any(proposal.blocked for proposal in proposals)
    undecided = sum(call.asks for proposal in proposals for call in proposal.calls)
    if undecided:
        print(f"bnguard: {undecided} call{'s' * (undecided != 1)} left for you to decide, see above", file=sys.stderr)
    if write:
        _, refused = _each(changed, _write)
        failed, changed = failed or refused, []
    _show(changed)
    return 2 if failed else int(bool(undecided or changed))


def _require_line(model_line: str | None, models: Sequence[str] | None) -> None:
    from bnguard._fix.model_line import LINES

    if model_line is not None and model_line not in LINES:
        raise UsageError(f"--model-line {model_line!r} is not known", hint=f"one of {', '.join(LINES)}")
    if models and model_line is None:
        raise UsageError("--model names a model for --model-line", hint=f"add --model-line {' or '.join(LINES)}")


def _distinct(files: Sequence[str]) -> list[str]:
    """Leave out a file that is named twice, by a link too."""
    paths: dict[str, str] = {}
    for file in files:
        paths.setdefault(os.path.realpath(file), file)
    return list(paths.values())


def _each(items: Iterable[_In], work: Callable[[_In], _Out]) -> tuple[list[_Out], bool]:
    """Do the work for each item; one that cannot be carried out is said, and does not hide the others."""
    done, failed = [], False
    for item in items:
        try:
            done.append(work(item))
        except FileError as error:
            show_error(error)
            failed = True
    return done, failed


def _require_met(declared: Declared, proposals: Sequence[Proposal]) -> None:
    """Refuse a name or line that means no call: it is mistyped, and the edit would not be the one that is wanted."""
    for word in declared.unmet:
        what = f"line {word}" if word.isdecimal() else word
        calls = ", ".join(f"{it.line} {it.name}" for p in proposals for it in p.calls)
        kind = "model" if word in declared.models else "DataLoader call"
        raise UsageError(f"no {kind} for {what}", hint=f"there are: {calls}" if calls else "there are none")


def _say(proposal: Proposal) -> None:
    """Say on stderr what becomes of each call, in the order of the file."""
    if not proposal.calls:
        unknown = ": nothing in this file says that its DataLoader is torch's" if "DataLoader(" in proposal.old else ""
        print(f"{proposal.source.path}: no DataLoader call{unknown}", file=sys.stderr)
    for call in proposal.calls:
        decision = "fix" if call.fixed else "left"
        print(f"{proposal.source.path}:{call.line} {call.name}: {decision}: {call.reason}", file=sys.stderr)


def _write(proposal: Proposal) -> None:
    from bnguard._fix.files import write_new
    from bnguard._usercode import display_path

    backup = write_new(proposal.source, proposal.new_data)
    kept = f"; what it was is kept in {display_path(str(backup))}" if backup else ""
    print(f"{proposal.source.path}: written{kept}", file=sys.stderr)


def _show(changed: Sequence[Proposal]) -> None:
    """Print the diffs: as the bytes of the files into a pipe, with colour on a terminal."""
    from bnguard._fix.rewrite import is_below_here, unified_diff

    for proposal in changed:
        diff = unified_diff(proposal)
        if sys.stdout.isatty():
            from bnguard._report.formats.console.page import show_diff

            show_diff(diff.decode(proposal.source.encoding, "replace"))
        else:
            sys.stdout.buffer.write(diff)
    sys.stdout.flush()
    if changed:
        count = sum(len(proposal.edits) for proposal in changed)
        tool = "git apply" if all(is_below_here(proposal.source.real) for proposal in changed) else "patch -p1 -d /"
        calls = f"{count} call{'s' * (count != 1)} to fix"
        print(f"bnguard: {calls}: pipe the diff into `{tool}`, or run again with --write", file=sys.stderr)
