"""What there is to do, in pieces that do not depend on each other, and what became of each; plain data, no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bnguard._check.declarations import Declared, LoaderEntry, ModelEntry, ScriptEntry
from bnguard._errors import BnguardError
from bnguard._facts.findings import Problem, Report
from bnguard._facts.loaders import LoaderFact, Suggestion
from bnguard._facts.models import ModelFact
from bnguard._forecast.report import Forecast


@dataclass(frozen=True)
class Audit:
    """The loaders that one entry stands for, under their names in the report, and the ways out."""

    facts: tuple[LoaderFact, ...]
    suggestions: tuple[Suggestion, ...] = ()


@dataclass(frozen=True)
class Job:
    """A model with the loaders that feed it, or a loader that feeds none, or a script; ``entry`` gets the blame.

    ``audits`` are of the loaders that are given by numbers, by their entry's name; ``label`` is what a script's lines
    begin with where several run at once; ``cuda_stand_in`` says whether the CPU may stand in for CUDA.
    """

    entry: str
    model: ModelEntry | None = None
    loaders: tuple[LoaderEntry, ...] = ()
    script: ScriptEntry | None = None
    audits: Mapping[str, Audit] = field(default_factory=dict)
    label: str | None = None
    cuda_stand_in: bool = True


@dataclass(frozen=True)
class Done:
    """What became of a job: forecasts of a model on its loaders, models that no loader feeds, the report on a script.

    ``audits`` are of all the loaders at hand, by their entry's name; ``torch`` is None where it was not needed,
    ``stood_in`` is what the report says of stand-ins.
    """

    forecasts: tuple[Forecast, ...] = ()
    scanned: tuple[ModelFact, ...] = ()
    audits: Mapping[str, Audit] = field(default_factory=dict)
    script: Report | None = None
    name: str = ""
    problems: tuple[Problem, ...] = ()
    torch: str | None = None
    stood_in: Sequence[Mapping[str, str]] = ()


def jobs_of(declared: Declared, chosen: Collection[str] | None, audits: Mapping[str, Audit]) -> Iterator[Job]:
    """Yield what is to be done, in the order of the configuration: models with their loaders, loaders, scripts.

    Of the entries those that are ``chosen``, such as ``models.net``, or all of them where that is None. A model brings
    the loaders that feed it, a loader the models that it feeds.
    """

    def wanted(*entries: str) -> bool:
        return chosen is None or any(entry in chosen for entry in entries)

    for model in declared.models:
        feeding = [x for x in declared.loaders if model.name in x.feeds]
        loaders = tuple(x for x in feeding if wanted(model.entry, x.entry))
        if loaders or (wanted(model.entry) and not feeding):
            yield Job(
                model.entry,
                model,
                loaders,
                audits={x.name: audits[x.name] for x in loaders if x.name in audits},
                cuda_stand_in=declared.cuda_stand_in,
            )
    for loader in declared.loaders:
        if not loader.feeds and wanted(loader.entry) and loader.name not in audits:
            yield Job(loader.entry, loaders=(loader,), cuda_stand_in=declared.cuda_stand_in)
    for script in declared.scripts:
        if wanted(script.entry):
            yield Job(script.entry, script=script, cuda_stand_in=declared.cuda_stand_in)


def problem(entry: str, error: BnguardError) -> Problem:
    """Return what is to be told of an error."""
    return Problem(entry, error.message, error.hint, error.detail)


def under_name(entry: LoaderEntry, facts: Sequence[LoaderFact], suggestions: Sequence[Suggestion]) -> Audit:
    """Name the loaders of an entry as it is called; the parts of a split keep their own names after a dot."""
    if len(facts) == 1:
        names = {facts[0].name: entry.name}
    else:
        names = {fact.name: f"{entry.name}.{fact.name}" for fact in facts}
    return Audit(
        tuple(replace(fact, name=names[fact.name]) for fact in facts),
        tuple(replace(way, loader=names[way.loader]) for way in suggestions),
    )


def audit_of_numbers(entry: LoaderEntry) -> Audit:
    """Audit a loader that is given by numbers.

    Raises:
        UsageError: a number means nothing, or two options exclude each other.

    """
    from bnguard._audit_loader import audit_loader

    alone = not {"split", "kfold", "names"} & set(entry.options)
    options: dict[str, Any] = {**entry.options, **({"names": [entry.name]} if alone else {})}
    report = audit_loader(**options)
    return under_name(entry, report.loaders, report.suggestions)
