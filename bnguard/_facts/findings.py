"""What a rule finds and what a reporter shows: severities, locations, findings, the report."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bnguard._facts.forecasts import ForecastFact
    from bnguard._facts.loaders import LoaderFact, Suggestion
    from bnguard._facts.models import ModelFact, SourceLine
    from bnguard._remedies import Advice


class Severity(IntEnum):
    """How much a finding matters; ordered, so that ``max`` and ``>=`` mean what they say."""

    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def label(self) -> str:
        """The word used in every report: ``note``, ``warning`` or ``error``."""
        return self.name.lower()


FAIL_ON: dict[str, int] = {"error": Severity.ERROR, "warning": Severity.WARNING, "never": 99}
"""From which severity on a command exits with 1, by the word that users give."""


@dataclass(frozen=True)
class Consequence:
    """What follows from a cause.

    Attributes:
        text: a clause.
        joint: what stands between the cause and the clause.
        of_model: whether the clause is about the finding's model, whose name then stands before it.

    """

    text: str
    joint: str = "; "
    of_model: bool = False


class Place(NamedTuple):
    """A line of the user's, and what happens there, in words that stand before it: ``made at``."""

    words: str
    line: SourceLine

    def __str__(self) -> str:
        """Return ``made at train.py:11``."""
        return f"{self.words} {self.line.short}"


@dataclass(frozen=True)
class SourceEdit:
    """An edit of the user's own source that ``bnguard fix`` is known to make: it was planned, not written.

    Attributes:
        file: to edit, as a command names it.
        train: the call's name or line, where ``fix`` must be told that it feeds training; else None.
        repair: the function of ``bnguard.repair`` to call on the model; None where a loader is wrapped.
        model: the model's name or line in the file, where ``repair`` is given.
        beside: further files that must be given with it, such as the one that calls its functions.

    """

    file: str
    train: str | None = None
    repair: str | None = None
    model: str | None = None
    beside: tuple[str, ...] = ()


def fix_command(edits: Sequence[SourceEdit]) -> str | None:
    """Return the one command that writes all of these edits; None without any."""
    files = list(dict.fromkeys(file for edit in edits for file in (edit.file, *edit.beside)))
    words: dict[str, None] = {}
    for edit in edits:
        place = f"{edit.file}:" if len(files) > 1 else ""
        for option, value in (("--train", edit.train), ("--model", edit.model)):
            if value is not None:
                words[f"{option} {shlex.quote(f'{place}{value}')}"] = None
        if edit.repair is not None:
            words[f"--model-line {edit.repair}"] = None
    return " ".join(["bnguard fix", *map(shlex.quote, files), *words, "--write"]) if edits else None


@dataclass(frozen=True)
class Finding:
    """One thing a rule has to say about one place, in parts; nobody takes the sentence apart again.

    Attributes:
        code: the rule's code, such as ``BN101``.
        severity: how much it matters here.
        cause: a clause: what was found.
        subject: whom the clause is about, in words: the layer with its class, several layers; '' where the names say
            it all, as for a loader.
        consequence: what follows from it, None where the cause says all.
        remedies: what to do, the first one first.
        model: the model's target text, or None for a loader's finding.
        layer: the layer's dotted name, or None.
        loader: the loader's name, or None for a model's finding.
        layer_line: the user's line that built the layer, or None.
        loader_line: the user's line that made the loader, or None.
        edit: what ``bnguard fix`` is known to change about it, or None.

    """

    code: str
    severity: Severity
    cause: str
    subject: str = ""
    consequence: Consequence | None = None
    remedies: tuple[Advice, ...] = ()
    model: str | None = None
    layer: str | None = None
    loader: str | None = None
    layer_line: SourceLine | None = None
    loader_line: SourceLine | None = None
    edit: SourceEdit | None = None

    @property
    def message(self) -> str:
        """One sentence: whom it is about, what happens, what follows."""
        after = ""
        if self.consequence is not None:
            who = f"{self.model} " if self.consequence.of_model else ""
            after = f"{self.consequence.joint}{who}{self.consequence.text}"
        if self.loader is not None:
            return f"{self.loader}: {self.cause}{after}"
        return f"{self.subject} {self.cause}{after}.".lstrip()

    @property
    def fix(self) -> str | None:
        """The remedies as one sentence, None without any."""
        if not self.remedies:
            return None
        text = "; or ".join(advice.text for advice in self.remedies)
        return text if self.loader is not None else f"{text[:1].upper()}{text[1:]}."

    @property
    def places(self) -> tuple[Place, ...]:
        """Where a reader should look, first at what the finding is about: a loader, or else a layer."""
        loader = [Place("made at", self.loader_line)] if self.loader_line else []
        layer = [Place("layer built at" if loader else "built at", self.layer_line)] if self.layer_line else []
        return (*loader, *layer)

    @property
    def location(self) -> SourceLine | None:
        """Where a reader should look first."""
        return self.places[0].line if self.places else None

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-ready values."""
        document: dict[str, Any] = {
            "code": self.code,
            "severity": self.severity.label,
            "message": self.message,
            "model": self.model,
            "layer": self.layer,
            "loader": self.loader,
            "location": self.location.to_dict() if self.location else None,
            "related_locations": [place.line.to_dict() for place in self.places[1:]],
            "fix": self.fix,
            "remedies": [advice.to_dict() for advice in self.remedies],
        }
        return document | {"fixable": True} if self.edit is not None else document


@dataclass(frozen=True)
class Problem:
    """Something that was declared and could not be carried out.

    Attributes:
        entry: where it is declared: ``models.net``.
        error: one line, why.
        hint: one line, what to do next, or None.
        detail: more lines, such as the user's own traceback, or None.

    """

    entry: str
    error: str
    hint: str | None = None
    detail: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the problem as JSON-ready values."""
        return {"entry": self.entry, "error": self.error, "hint": self.hint, "detail": self.detail}


@dataclass(frozen=True)
class Report:
    """The one object that every reporter renders.

    Attributes:
        command: the command that made it: ``scan``, ``audit-loader``, ``forecast`` …
        models: the scanned models, in the order of their targets.
        loaders: the audited loaders.
        suggestions: ways out for the loaders, cheapest first.
        forecasts: where the epochs of the loaders stop with the models, in the order of models and loaders.
        findings: what the rules said, in the order of models, loaders and layers.
        problems: what was declared and could not be carried out.
        torch: the version of torch that was asked, or None where none was needed.
        extra: further keys of the JSON document, such as the strip of a range of sizes.
        select: prefixes of the codes whose findings are kept, none for all.
        ignore: prefixes of the codes whose findings were left out.

    """

    command: str
    models: Sequence[ModelFact] = ()
    loaders: Sequence[LoaderFact] = ()
    suggestions: Sequence[Suggestion] = ()
    forecasts: Sequence[ForecastFact] = ()
    findings: Sequence[Finding] = ()
    problems: Sequence[Problem] = ()
    torch: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no error was found, all was carried out, and no training loader is left not known."""
        known = not any(f.unknown_in_training for f in self.forecasts)
        return known and self.worst < Severity.ERROR and not self.problems

    @property
    def worst(self) -> int:
        """The highest severity found, 0 where nothing was."""
        return max((f.severity for f in self.findings), default=0)

    @property
    def fixable(self) -> tuple[Finding, ...]:
        """The findings that one call of ``bnguard fix`` is known to carry out: those of loaders first."""
        found = tuple(f for f in self.findings if f.edit is not None)
        return tuple(f for f in found if f.edit is not None and f.edit.repair is None) or found

    @property
    def fix_command(self) -> str | None:
        """The command that carries them out, None without any."""
        return fix_command([f.edit for f in self.fixable if f.edit is not None])

    def count(self, severity: Severity) -> int:
        """Return how many findings have exactly this severity."""
        return sum(f.severity is severity for f in self.findings)

    def filtered(self, select: Iterable[str] = (), ignore: Iterable[str] = ()) -> Report:
        """Return the report with only the findings whose code a prefix selects and none ignores."""
        asked = replace(self, select=tuple(select), ignore=tuple(ignore))
        return replace(asked, findings=tuple(f for f in self.findings if asked.shows(f.code)))

    def shows(self, code: str) -> bool:
        """Say whether the findings of this rule are in the report, if there are any."""
        chosen = not self.select or code.startswith(self.select)
        return chosen and not (self.ignore and code.startswith(self.ignore))

    def to_dict(self) -> dict[str, Any]:
        """Return the document of the JSON contract (schema 1)."""
        from bnguard import __version__

        document: dict[str, Any] = {"bnguard": __version__, "schema": 1, "command": self.command}
        if self.torch:
            document["torch"] = self.torch
        if self.command in ("scan", "check") or self.models:
            document["models"] = [m.to_dict() for m in self.models]
        if self.command in ("audit-loader", "check") or self.loaders:
            document["loaders"] = [loader.to_dict() for loader in self.loaders]
            document["suggestions"] = [s.to_dict() for s in self.suggestions]
        if self.command in ("forecast", "preflight", "check") or self.forecasts:
            document["forecasts"] = [forecast.to_dict() for forecast in self.forecasts]
        if self.command == "check":
            document["problems"] = [p.to_dict() for p in self.problems]
        document.update(self.extra)
        document["findings"] = [f.to_dict() for f in self.findings]
        if self.fix_command is not None:
            document["fix_command"] = self.fix_command
        document["summary"] = {f"{s.label}s": self.count(s) for s in sorted(Severity, reverse=True)}
        return document
