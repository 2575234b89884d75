"""Which findings of a report ``bnguard fix`` carries out: its edits are planned on the files, and not written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bnguard._errors import FileError
from bnguard._facts.findings import Finding, Report, Severity, SourceEdit
from bnguard._remedies import ALLOW_SINGLE_SAMPLE, EVAL_MODE, MERGE_TAIL

if TYPE_CHECKING:
    from bnguard._facts.loaders import LoaderFact
    from bnguard._facts.models import ModelFact
    from bnguard._fix.propose import Decision, Proposal
    from bnguard._fix.reading import Reading


def with_edits(report: Report, script: str | None = None) -> Report:
    """Return the report with the edit of each finding for which one is known.

    A loader is wrapped where the report knows that merging its tail helps. Where it does not, the model that stops
    gets a line, if all its layers that fail can take a single sample.

    Args:
        report: on scripts or live loaders.
        script: the file that makes the models and loaders, as a command names it.

    """
    if not any(f.severity is not Severity.NOTE for f in report.findings):
        return report
    planned = _Planned(report, script)
    findings = [
        replace(f, edit=planned.of_loader(f)) if f.severity is not Severity.NOTE else f for f in report.findings
    ]
    lacking = [f for f in findings if f.severity is Severity.ERROR and f.edit is None and _asks_the_model(f)]
    lines = {f.model: planned.of_model(f.model) for f in lacking if f.model is not None}
    findings = [
        replace(f, edit=line) if f in lacking and f.model is not None and (line := lines[f.model]) else f
        for f in findings
    ]
    return replace(report, findings=findings)


class _Planned:
    """The edits for one report; a file is read once."""

    def __init__(self, report: Report, script: str | None) -> None:
        self.report = report
        self.script = script
        self._read = lru_cache(None)(_reading)

    def of_loader(self, finding: Finding) -> SourceEdit | None:
        """Return the edit that wraps the loader of a finding, None where merging is no way out or none is known."""
        loader = next((x for x in self.report.loaders if x.name == finding.loader), None)
        ways = {way.kind for way in self.report.suggestions if way.loader == finding.loader}
        helps = MERGE_TAIL.kind in ways or MERGE_TAIL.kind in {advice.kind for advice in finding.remedies}
        if loader is None or not helps or not loader.borders or loader.mode != "train":
            return None
        return next(filter(None, self._of_loader(loader)), None)

    def _of_loader(self, loader: LoaderFact) -> Iterator[SourceEdit | None]:
        """Yield the edits, the shortest command first: of its file, of both files, of the call that is named."""
        file = loader.source.file if loader.source else self.script
        if file is None:
            return
        line = loader.source.line if loader.source else None
        names = {loader.variable, loader.name, f"{loader.name}()", f'"{loader.name}"'}

        def is_it(decision: Decision) -> bool:
            return line in decision.lines if line is not None else decision.name in names

        yield self._wrapped((file,), is_it)
        if self.script is not None and Path(self.script) != Path(file):
            yield self._at_the_call((file, self.script), is_it, names)
        for word in self._words(file, is_it):
            yield self._wrapped((file,), is_it, word)

    def _wrapped(
        self, files: tuple[str, ...], is_it: Callable[[Decision], bool], train: str | None = None
    ) -> SourceEdit | None:
        decided = self._decide(files, train)
        found = [d for d in decided.get(files[0], ()) if is_it(d)]
        return SourceEdit(files[0], train=train) if len(found) == 1 and found[0].fixed else None

    def _at_the_call(
        self, files: tuple[str, ...], is_it: Callable[[Decision], bool], names: set[str | None]
    ) -> SourceEdit | None:
        """Return the edit of two files, where the one calls what makes the loader in the other."""
        decided = self._decide(files, None)
        within = [d for d in decided.get(files[0], ()) if is_it(d) and d.fixed]
        at_the_call = [d for d in decided.get(files[1], ()) if d.name in names and d.fixed]
        if len(within) == 1:
            return SourceEdit(files[0], beside=files[1:])
        return SourceEdit(files[1], beside=files[:1]) if len(at_the_call) == 1 else None

    def _words(self, file: str, is_it: Callable[[Decision], bool]) -> Iterator[str]:
        """Yield what ``--train`` can call it: its name if that is its own, else its line."""
        decisions = self._decide((file,), None).get(file, [])
        for decision in filter(is_it, decisions):
            if decision.name.isidentifier() and [d.name for d in decisions].count(decision.name) == 1:
                yield decision.name
            yield str(decision.line)

    def _decide(self, files: tuple[str, ...], train: str | None) -> dict[str, Sequence[Decision]]:
        """Return what ``fix`` does with the calls of each of these files; nothing where it would refuse one."""
        from bnguard._fix.propose import Declared, decide, proposal_of

        readings = [self._read(file) for file in files]
        if None in readings:
            return {}
        known = [reading for reading in readings if reading is not None]
        try:
            decided = decide(known, Declared((train,) if train is not None else ()))
            proposals: list[Proposal] = [proposal_of(reading, decided[reading]) for reading in known]
        except FileError:
            return {}
        return {file: one.calls for file, one in zip(files, proposals, strict=True)}

    def of_model(self, name: str) -> SourceEdit | None:
        """Return the edit that lets a model take a single sample; None where that is no way out or none is known."""
        from bnguard._fix.propose import Declared, decide_models, proposal_of

        facts = [model for model in self.report.models if model.target == name]
        if self.script is None or not facts or not all(map(_takes_one, facts)):
            return None
        reading = self._read(self.script)
        if reading is None:
            return None
        function = str(ALLOW_SINGLE_SAMPLE.function).rpartition(".")[2]
        for named in ((), (name,)):
            try:
                decided = decide_models([reading], function, Declared(models=named))
                proposal = proposal_of(reading, decided[reading])
            except FileError:
                return None
            mine = [d for d in proposal.edits if d.name.rpartition(".")[2] == name]
            if mine and (named or len(proposal.edits) == len(mine)):
                return SourceEdit(self.script, repair=function, model=name if named else None)
        return None


def _asks_the_model(finding: Finding) -> bool:
    """Whether a way out is that the model takes a single sample, and it is not eval mode that is wanted first."""
    kinds = [advice.kind for advice in finding.remedies]
    return ALLOW_SINGLE_SAMPLE.kind in kinds and kinds[0] != EVAL_MODE.kind


def _takes_one(model: ModelFact) -> bool:
    """Whether every layer of it that fails would use its running statistics for a single sample."""
    failing = [layer for layer in model.layers if layer.verdict == "fails"]
    helped = (ALLOW_SINGLE_SAMPLE.kind in x.norm.remedies and x.track_running_stats for x in failing)
    return bool(failing) and all(helped)


def _reading(file: str) -> Reading | None:
    from bnguard._fix.reading import read

    try:
        return read(file)
    except FileError:
        return None
