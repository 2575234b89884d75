"""From a path to a proposal: find the calls, ask what each feeds and needs, wrap those that need it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bnguard._errors import BnguardError, UsageError
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
        BnguardError: LibCST is not installed.

    """
    _require_libcst()
    from bnguard._fix.calls import find_calls
    from bnguard._fix.tree import Tree

    source = read_source(Path(path))
    tree = Tree(source.text, source.path)
    declared = _Declared(source.path, train, evaluate)
    verdicts = _verdicts(find_calls(tree), tree, declared)
    proposal = _wrapped(Proposal(source, source.text), verdicts, tree)
    return replace(proposal, unmatched=tuple(w for w in (*train, *evaluate) if w not in declared.matched))


class _Verdict(NamedTuple):
    call: cst.Call
    line: int
    name: str
    wrap: bool
    why: str


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


def _verdicts(calls: Sequence[LoaderCall], tree: Tree, declared: _Declared) -> list[_Verdict]:
    from bnguard._fix.calls import label

    labels = [label(call.node, tree) for call in calls]
    texts = [it.text for it in labels]
    return [
        _Verdict(
            call.node,
            tree.line(call.node),
            it.text,
            *_judge(call, tree, declared.mode(it, tree.lines(call.node)), _handle(it, texts, tree.line(call.node))),
        )
        for call, it in zip(calls, labels, strict=True)
    ]


def _handle(label: Label, texts: list[str], line: int) -> str:
    """Return what to write after ``--train`` for this call: its name if that is plain and its own, else its line."""
    return label.text if label.text.isidentifier() and texts.count(label.text) == 1 else str(line)


def _judge(call: LoaderCall, tree: Tree, declared_mode: Mode | None, handle: str) -> tuple[bool, str]:
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


def _wrapped(proposal: Proposal, verdicts: Sequence[_Verdict], tree: Tree) -> Proposal:
    from bnguard._fix.rewrite import Blocked, wrap

    chosen = [v for v in verdicts if v.wrap]
    left = [Left(v.line, v.name, v.why) for v in verdicts if not v.wrap]
    if not chosen:
        return replace(proposal, left=tuple(left))
    try:
        _require_the_package(proposal.source)
        new = wrap(proposal.old, [v.call for v in chosen], tree)
    except Blocked as reason:
        left = [Left(v.line, v.name, f"{v.why}, but {reason}" if v.wrap else v.why) for v in verdicts]
        return replace(proposal, left=tuple(left), blocked=str(reason))
    return replace(proposal, new=new, edits=tuple(Edit(v.line, v.name, v.why) for v in chosen), left=tuple(left))


def _require_the_package(source: Source) -> None:
    """Refuse where a file of the user's own would answer to ``import bnguard``."""
    from bnguard._fix.rewrite import Blocked

    namesake = source.real.with_name("bnguard.py")
    if namesake.exists():
        raise Blocked(f"{namesake.name} beside it hides the package bnguard: rename that file")


def _require_libcst() -> None:
    try:
        import libcst  # noqa: F401
    except ImportError as error:
        raise BnguardError("bnguard fix needs LibCST", hint='pip install "bnguard[fix]"') from error


@dataclass(frozen=True)
class Edit:
    """A ``DataLoader(...)`` call that gets a fix.

    Attributes:
        line: of the call, from 1.
        name: what the loader is bound to, as it is written: ``train_loader``, ``loaders["train"]``.
        why: how it is known to feed training, and why its last batch may hold one sample.

    """

    line: int
    name: str
    why: str


@dataclass(frozen=True)
class Left:
    """A ``DataLoader(...)`` call that stays as it is, why, and the next step where there is one."""

    line: int
    name: str
    reason: str


@dataclass(frozen=True)
class Proposal:
    """The edits to one file.

    Attributes:
        source: the file as it was read.
        new: its text with the edits; equal to ``old`` where there are none.
        edits: in the order of their lines.
        left: the calls left alone, in the order of their lines.
        blocked: why calls that need an edit cannot get one in this file; None where they can.
        unmatched: names and lines declared as training or evaluation that no call of this file answers to.

    """

    source: Source
    new: str
    edits: tuple[Edit, ...] = ()
    left: tuple[Left, ...] = ()
    blocked: str | None = None
    unmatched: tuple[str, ...] = ()

    @property
    def old(self) -> str:
        """The text as it was read."""
        return self.source.text

    @property
    def calls(self) -> tuple[Edit | Left, ...]:
        """All DataLoader calls of the file, in the order of their lines."""
        return tuple(sorted((*self.edits, *self.left), key=lambda call: call.line))

    @property
    def new_data(self) -> bytes:
        """The new text in the file's own encoding."""
        return self.source.encode(self.new)
