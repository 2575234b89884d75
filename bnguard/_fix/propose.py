"""From paths to proposals: find the calls, ask what each feeds and needs, wrap those that need it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnguard._errors import UsageError
from bnguard._fix.calls import Label, label
from bnguard._fix.factories import Use, uses
from bnguard._fix.model_line import LINES, made_models
from bnguard._fix.need import need
from bnguard._fix.purpose import Purpose, purpose
from bnguard._fix.reading import Reading, read
from bnguard._fix.rewrite import Blocked, Edit, carry_out
from bnguard._remedies import MERGE_TAIL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bnguard._facts.models import Mode
    from bnguard._fix.calls import LoaderCall
    from bnguard._fix.files import Source
    from bnguard._fix.tree import Tree


@dataclass(frozen=True)
class Decision:
    """Whether a call that makes a loader gets the fix.

    Attributes:
        line: of the call, from 1.
        name: what the loader is bound to, as it is written: ``train_loader``, ``loaders["train"]``.
        fixed: whether it is wrapped.
        reason: how it is known to feed training and to need it, or why it stays as it is and what is next.
        edit: how it is carried out.
        asks: whether it is left because only the user can say what it is for.
        lines: all lines of the call.

    """

    line: int
    name: str
    fixed: bool
    reason: str
    edit: Edit = field(repr=False, compare=False)
    asks: bool = False
    lines: range = range(0)


@dataclass(frozen=True)
class Proposal:
    """The edits to one file.

    Attributes:
        source: the file as it was read.
        new: its text with the edits; equal to ``old`` where there are none.
        calls: all DataLoader calls of the file, in the order of their lines.
        blocked: why calls that need an edit cannot get one in this file; None where they can.

    """

    source: Source
    new: str
    calls: tuple[Decision, ...] = ()
    blocked: str | None = None

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


class Declared:
    """What the user said about calls, and which of it has been met.

    Args:
        train: of calls that feed training, whatever their names say: a name, a line (as text), or ``FILE:LINE``.
        evaluate: the same for evaluation.
        models: the models that get a line; those that look like models where it is empty.

    """

    def __init__(
        self, train: Collection[str] = (), evaluate: Collection[str] = (), models: Collection[str] = ()
    ) -> None:
        self.train, self.evaluate, self.models = train, evaluate, models
        self._matched: set[str] = set()

    @property
    def unmet(self) -> tuple[str, ...]:
        """Names and lines that no call answers to."""
        return tuple(word for word in (*self.train, *self.evaluate, *self.models) if word not in self._matched)

    def mode(self, label: Label, lines: range, source: Source) -> Mode | None:
        """Return what the user said of the call with this label on these lines.

        Raises:
            UsageError: it is declared as training and as evaluation.

        """
        met = {word for word in (*self.train, *self.evaluate) if _means(word, label, lines, source)}
        self._matched |= met
        trains, evaluates = met & set(self.train), met & set(self.evaluate)
        if trains and evaluates:
            raise UsageError(
                f"{source.path}:{lines[0]} {label.text}: declared as training and as evaluation",
                hint="give its line to one of --train and --eval",
            )
        return "train" if trains else "eval" if evaluates else None

    def is_model(self, label: Label, lines: range, source: Source) -> bool:
        """Whether the user named the model with this label on these lines."""
        met = {word for word in self.models if _means(word, label, lines, source)}
        self._matched |= met
        return bool(met)


def _means(word: str, label: Label, lines: range, source: Source) -> bool:
    file, _, rest = word.rpartition(":")
    if file and Path(os.path.realpath(file)) == source.real:
        word = rest
    return word in label.words or (word.isdecimal() and int(word) in lines)


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
    reading = read(path)
    return proposal_of(reading, decide([reading], Declared(train, evaluate))[reading])


def decide(readings: Sequence[Reading], declared: Declared) -> dict[Reading, list[Decision]]:
    """Decide on the calls of several files, which may call each other's functions.

    Raises:
        FileError: one of the files nests expressions too deeply to be followed.
        UsageError: a call is declared as training and as evaluation.

    """
    decisions: dict[Reading, list[Decision]] = {reading: [] for reading in readings}
    for reading in readings:
        labels = [label(call.node, reading.tree) for call in reading.calls]
        texts = [it.text for it in labels]
        for call, it in zip(reading.calls, labels, strict=True):
            handle = _handle(it, texts, reading.tree.line(call.node))
            for where, decision in _decisions(call, it, handle, reading, readings, declared):
                decisions[where].append(decision)
    return decisions


def decide_models(readings: Sequence[Reading], function: str, declared: Declared) -> dict[Reading, list[Decision]]:
    """Decide on the statements of several files that make models: which get a line, and what it calls.

    Args:
        readings: the files, which may use each other's classes and functions.
        function: of ``LINES``.
        declared: its ``models`` are the ones, if it names any.

    """
    remedy = LINES[function]
    decisions: dict[Reading, list[Decision]] = {}
    for reading in readings:
        tree = reading.tree

        def named(label: Label, lines: range, source: Source = reading.source) -> bool:
            return declared.is_model(label, lines, source)

        decisions[reading] = []
        for model in made_models(reading, readings, named if declared.models else None):
            done = f"already repaired in line {model.repaired}"
            reason = done if model.repaired else f"{remedy.does}, {remedy.price}"
            edit = Edit(str(remedy.function), model.statement, model.label.text)
            place = tree.line(model.statement), model.label.text, model.repaired is None
            decisions[reading].append(Decision(*place, reason, edit, lines=tree.lines(model.statement)))
    return decisions


def proposal_of(reading: Reading, decisions: Sequence[Decision]) -> Proposal:
    """Carry out the decisions on a file, in a text of its own.

    Raises:
        FileError: an edit cannot be placed.

    """
    source = reading.source
    in_order = tuple(sorted(decisions, key=lambda decision: decision.line))
    return _wrapped(Proposal(source, source.text, in_order), reading.tree)


def _handle(label: Label, texts: list[str], line: int) -> str:
    """Return what to write after ``--train`` for this call: its name if that is plain and its own, else its line."""
    return label.text if label.text.isidentifier() and texts.count(label.text) == 1 else str(line)


def _decisions(
    call: LoaderCall, it: Label, handle: str, home: Reading, readings: Sequence[Reading], declared: Declared
) -> Iterator[tuple[Reading, Decision]]:
    """Yield the decision on a call, and on the calls of the function that returns it where they differ."""
    tree = home.tree
    said = declared.mode(it, tree.lines(call.node), home.source)
    feeds = Purpose(said, f"--{said} says so") if said else purpose(call, tree)
    called = uses(call, home, readings) if feeds.mode is None else []
    if called:
        yield from _by_uses(call, it, handle, home, called, declared)
        return
    fixed, reason, asks = _decision(call, tree, feeds, handle)
    yield home, _decided(call, it, home, fixed, reason, asks)


def _decided(call: LoaderCall, it: Label, home: Reading, fixed: bool, reason: str, asks: bool = False) -> Decision:
    tree = home.tree
    edit = Edit(str(MERGE_TAIL.function), call.node)
    return Decision(tree.line(call.node), it.text, fixed, reason, edit, asks, tree.lines(call.node))


def _decision(call: LoaderCall, tree: Tree, feeds: Purpose, handle: str) -> tuple[bool, str, bool]:
    """Return whether to wrap a call, the reason in one sentence, and whether it is a question to the user."""
    wants = need(call, tree)
    if feeds.mode == "eval":
        return False, f"feeds evaluation ({feeds.why}): one sample is safe there after model.eval()", False
    if not wants.needed:
        return False, wants.why, wants.asks
    if feeds.mode is None:
        return False, f"{feeds.why}: {feeds.ask.format(handle)}", True
    return True, f"feeds training ({feeds.why}), and {wants.why}", False


@dataclass(frozen=True, eq=False)
class _Seen:
    """A call of the function that returns a loader: what it feeds, and what it would get by itself."""

    use: Use
    label: Label
    feeds: Purpose
    fixed: bool
    reason: str
    asks: bool


def _by_uses(
    call: LoaderCall, it: Label, handle: str, home: Reading, called: Sequence[Use], declared: Declared
) -> Iterator[tuple[Reading, Decision]]:
    """Decide by where the function that returns the loader is called: within it where all train, else at the calls."""
    seen = [_look(use, declared) for use in called]
    within = need(call, home.tree)
    function = f"{called[0].function}()"
    places = ", ".join(dict.fromkeys(x.use.reading.place(x.use.call.node, home) for x in seen))
    if within.repaired:
        yield home, _decided(call, it, home, False, within.why)
    elif all(x.fixed for x in seen):
        why = f"{function} is called in {places}: {seen[0].feeds.why}"
        yield home, _decided(call, it, home, True, f"feeds training ({why}), and its last batch can hold one sample")
    elif all(x.feeds.mode == "eval" for x in seen):
        reason = f"feeds evaluation ({function} is called in {places}): one sample is safe there after model.eval()"
        yield home, _decided(call, it, home, False, reason)
    elif any(x.use.place for x in seen):
        ask = f"{function} is called in {places} for different purposes: --train {handle} fixes them all"
        yield home, _decided(call, it, home, False, ask, any(x.fixed or x.asks for x in seen))
    else:
        yield home, _decided(call, it, home, False, f"{function} is called in {places}: see there")
        for x in seen:
            yield x.use.reading, _decided(x.use.call, x.label, x.use.reading, x.fixed, x.reason, x.asks)


def _look(use: Use, declared: Declared) -> _Seen:
    tree, node = use.reading.tree, use.call.node
    it = label(node, tree, use.place)
    said = declared.mode(it, tree.lines(node), use.reading.source)
    feeds = Purpose(said, f"--{said} says so") if said else purpose(use.call, tree, use.place)
    return _Seen(use, it, feeds, *_decision(use.call, tree, feeds, str(tree.line(node))))


def _wrapped(proposal: Proposal, tree: Tree) -> Proposal:
    if not proposal.edits:
        return proposal
    try:
        _require_the_package(proposal.source)
        return replace(proposal, new=carry_out(proposal.old, [decision.edit for decision in proposal.edits], tree))
    except Blocked as reason:
        calls = (replace(x, fixed=False, reason=f"{x.reason}, but {reason}") if x.fixed else x for x in proposal.calls)
        return replace(proposal, calls=tuple(calls), blocked=str(reason))


def _require_the_package(source: Source) -> None:
    """Refuse where a file of the user's own would answer to ``import bnguard``."""
    namesake = source.real.with_name("bnguard.py")
    if namesake.exists():
        raise Blocked(f"{namesake.name} beside it hides the package bnguard: rename that file")
