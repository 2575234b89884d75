"""From what became of the jobs to one report: each fact once, judged together, in the order of the configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from bnguard.checking.jobs import Audit, Done
from bnguard.findings import Report
from bnguard.forecasting.reporting import report_on
from bnguard.loader_facts import Suggestion
from bnguard.rules import CATALOGUE


def assembled(done: Sequence[Done], audits: Mapping[str, Audit]) -> Report:
    """Return the report on everything that was done.

    Args:
        done: in the order of the configuration.
        audits: of all loaders, in that order too; those that no forecast is of are judged by themselves.

    """
    forecasts = [f for d in done for f in d.forecasts]
    joined = {f.fact.loader for f in forecasts}
    facts = [fact for audit in audits.values() for fact in audit.facts]
    fed, alone = [f for f in facts if f.name in joined], [f for f in facts if f.name not in joined]
    scanned = [m for d in done for m in d.scanned]
    report = report_on(forecasts, fed, _ways(audits.values(), joined), "check", torch=_torch(done))
    report = replace(
        report,
        models=(*report.models, *scanned),
        loaders=(*report.loaders, *alone),
        suggestions=(*report.suggestions, *_ways(audits.values(), {f.name for f in alone})),
        findings=(*report.findings, *CATALOGUE.judge(models=scanned, loaders=alone)),
        problems=tuple(dict.fromkeys(p for d in done for p in d.problems)),
    )
    for one in done:
        if one.script is not None:
            report = _with(report, _under(one.name, one.script))
    return report


def _ways(audits: Iterable[Audit], loaders: Collection[str]) -> list[Suggestion]:
    return [way for audit in audits for way in audit.suggestions if way.loader in loaders]


def _torch(done: Iterable[Done]) -> str | None:
    return next((d.torch for d in done if d.torch), None)


def _with(report: Report, more: Report) -> Report:
    return replace(
        report,
        models=(*report.models, *more.models),
        loaders=(*report.loaders, *more.loaders),
        suggestions=(*report.suggestions, *more.suggestions),
        forecasts=(*report.forecasts, *more.forecasts),
        findings=(*report.findings, *more.findings),
        torch=report.torch or more.torch,
    )


def _under(name: str, report: Report) -> Report:
    """Put the script's name before those of its models and loaders: two scripts may call theirs alike."""

    def named(of: str | None) -> str | None:
        return None if of is None else f"{name}.{of}"

    return replace(
        report,
        models=[replace(m, target=f"{name}.{m.target}") for m in report.models],
        loaders=[replace(x, name=f"{name}.{x.name}") for x in report.loaders],
        suggestions=[replace(s, loader=f"{name}.{s.loader}") for s in report.suggestions],
        forecasts=[replace(f, model=f"{name}.{f.model}", loader=f"{name}.{f.loader}") for f in report.forecasts],
        findings=[replace(f, model=named(f.model), loader=named(f.loader)) for f in report.findings],
    )
