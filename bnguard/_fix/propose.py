"""From a path to a proposal: find the calls, ask what each feeds and needs, wrap those that need it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnguard._errors import UsageError
from bnguard._fix.files import read_source

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import libcst as cst

    from bnguard._facts.models import Mode
    from bnguard._fix.calls import Label, LoaderCall
    from bnguard._fix.files import Source
    from bnguard._fix.tree import Tree


def propose(path: str | Path, *, train: Collection[str] = (), evaluate: Collection[str] = ()) -> Proposal:
    """Propose ``bnguard.repair.merge_tail`` around the DataLoader calls of a file that feed training and need it.

    The file is neither run nor imported, and not written.

    Args:
        path: a file of Python source.
        train: names or lines (as text) of calls that feed training, whatever their names say.
        evaluate: the same for evaluation.

    Raises:
        FileError: the file cannot be read or is no Python source.
        UsageError: a call is declared as training and as evaluation.

    """
    from bnguard._fix.calls import find_calls
    from bnguard._fix.tree import Tree

    source = read_source(Path(path))
    tree = Tree(source.text, source.path)
    declared = _Declared(source.path, train, evaluate)
    decisions = _decisions(find_calls(tree), tree, declared)
    proposal = _wrapped(Proposal(source, source.text, tuple(decisions)), tree)
    return replace(proposal, unmatched=tuple(w for w in (*train, *evaluate) if w not in declared.matched))


class _Declared:
    """What the user said about calls, and which of it has been met."""

    def __init__(self, path: Path, train: Collection[str], evaluate: Collection[str]) -> None:
        self.path, self.train, self.evaluate = path, train, evaluate
        self.matched: set[str] = set()

    def mode(self, label: Label, lines: range) -> Mode | None:
        """Return what the user said of the call with this label on these lines."""
        met = {
            word for word in (*self.train, *self.evaluate)
            if word in label.words or (word.isdecimal() and int(word) in lines)
        }  # fmt: skip
        self.matched |= met
        trains, evaluates = met & set(self.train), met & set(self.evaluate)
        if trains and evaluates:
            raise UsageError(
                f"{self.path}:{lines[0]} {label.text}: declared as training and as evaluation",
                hint="give its line to one of --train and --eval",
            )
        return "train" if trains else "eval" if evaluates else None


def _decisions(calls: Sequence[LoaderCall], tree: Tree, declared: _Declared) -> list[Decision]:
    from bnguard._fix.calls import label

    labels = [label(call.node, tree) for call in calls]
    texts = [it.text for it in labels]
    decisions = []
    for call, it in zip(calls, labels, strict=True):
        line = tree.line(call.node)
        fixed, reason = _decision(call, tree, declared.mode(it, tree.lines(call.node)), _handle(it, texts, line))
        decisions.append(Decision(line, it.text, fixed, reason, call.node))
    return decisions


def _handle(label: Label, texts: list[str], line: int) -> str:
    """Return what to write after ``--train`` for this call: its name if that is plain and its own, else its line."""
    return label.text if label.text.isidentifier() and texts.count(label.text) == 1 else str(line)


def _decision(call: LoaderCall, tree: Tree, declared_mode: Mode | None, handle: str) -> tuple[bool, str]:
    """Return whether to wrap a call, and the reason in one sentence."""
    from bnguard._fix.need import need
    from bnguard._fix.purpose import Purpose, purpose

    feeds = Purpose(declared_mode, f"--{declared_mode} says so") if declared_mode else purpose(call, tree)
    wants = need(call, tree)
    if feeds.mode == "eval":
        return False, f"feeds evaluation ({feeds.why}): one sample is safe there after model.eval()"
    if not wants.needed:
        return False, wants.why
    if feeds.mode is None:
        return False, f"{feeds.why}: {feeds.ask.format(handle)}"
    return True, f"feeds training ({feeds.why}), and {wants.why}"


def _wrapped(proposal: Proposal, tree: Tree) -> Proposal:
    from bnguard._fix.rewrite import Blocked, wrap

    if not proposal.edits:
        return proposal
    try:
        _require_the_package(proposal.source)
        return replace(proposal, new=wrap(proposal.old, [edit.node for edit in proposal.edits], tree))
    except Blocked as reason:
        calls = (replace(x, fixed=False, reason=f"{x.reason}, but {reason}") if x.fixed else x for x in proposal.calls)
        return replace(proposal, calls=tuple(calls), blocked=str(reason))


def _require_the_package(source: Source) -> None:
    """Refuse where a file of the user's own would answer to ``import bnguard``."""
    from bnguard._fix.rewrite import Blocked

    namesake = source.real.with_name("bnguard.py")
    if namesake.exists():
        raise Blocked(f"{namesake.name} beside it hides the package bnguard: rename that file")


@dataclass(frozen=True)
class Decision:
    """Whether a ``DataLoader(...)`` call gets the fix.

    Attributes:
        line: of the call, from 1.
        name: what the loader is bound to, as it is written: ``train_loader``, ``loaders["train"]``.
        fixed: whether it is wrapped.
        reason: how it is known to feed training and to need it, or why it stays as it is and what is next.
        node: the call.

    """

    line: int
    name: str
    fixed: bool
    reason: str
    node: cst.Call = field(repr=False, compare=False)


@dataclass(frozen=True)
class Proposal:
    """The edits to one file.

    Attributes:
        source: the file as it was read.
        new: its text with the edits; equal to ``old`` where there are none.
        calls: all DataLoader calls of the file, in the order of their lines.
        blocked: why calls that need an edit cannot get one in this file; None where they can.
        unmatched: names and lines declared as training or evaluation that no call of this file answers to.

    """

    source: Source
    new: str
    calls: tuple[Decision, ...] = ()
    blocked: str | None = None
    unmatched: tuple[str, ...] = ()

    @property
    def old(self) -> str:
        """The text as it was read."""
        return self.source.text

    @property
    def edits(self) -> tuple[Decision, ...]:
        """The calls that get the fix."""
        return tuple(call for call in self.calls if call.fixed)

    @property
    def left(self) -> tuple[Decision, ...]:
        """The calls left alone."""
        return tuple(call for call in self.calls if not call.fixed)

    @property
    def new_data(self) -> bytes:
        """The new text in the file's own encoding."""
        return self.source.encode(self.new)
