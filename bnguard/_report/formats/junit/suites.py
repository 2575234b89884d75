"""Which rules were judged where: the suites and cases of a test report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bnguard._rules import CATALOGUE, rule_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bnguard._facts.findings import Finding, Problem, Report
    from bnguard._facts.forecasts import ForecastFact
    from bnguard._facts.models import ModelFact
    from bnguard._rules import Rule

    Key = tuple[str | None, str | None]


@dataclass
class Case:
    """One rule at one model, loader or pair: its findings, or why it is not known; or a problem."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    unknown: str | None = None
    problem: Problem | None = None


@dataclass
class Suite:
    """The cases of one model, loader, or model on a loader."""

    name: str
    cases: list[Case] = field(default_factory=list)


def suites(report: Report) -> Iterator[Suite]:
    """Return the suites in the order of problems, models, loaders, forecasts, and what findings speak of besides."""
    if report.problems:
        yield Suite(report.command, [Case(p.entry, problem=p) for p in report.problems])
    judged = _judged(report)
    found: dict[tuple[Key, str], list[Finding]] = {}
    for finding in report.findings:
        found.setdefault((_key(finding), finding.code), []).append(finding)
        judged.setdefault(_key(finding), {}).setdefault(finding.code, None)
    for key, rules in judged.items():
        cases = []
        for code in sorted(c for c in rules if report.shows(c)):
            findings = found.get((key, code), [])
            rule = rule_of(code)
            name = f"{code} {rule.name}" if rule else code
            cases.append(Case(name, findings, None if findings else rules[code]))
        yield Suite(" on ".join(part for part in key if part is not None) or "bnguard", cases)


def _key(finding: Finding) -> Key:
    return finding.model, finding.loader


def _judged(report: Report) -> dict[Key, dict[str, str | None]]:
    """Return the codes that were judged for each key, with why the answer is not known where it is not."""
    judged: dict[Key, dict[str, str | None]] = {}
    pairs = {f.model for f in report.forecasts}, {f.loader for f in report.forecasts}
    for model in report.models:
        reasons = judged.setdefault((model.target, None), {})
        for rule in _rules_of(model, in_view=model.target in pairs[0]):
            reasons[rule.code] = reasons.get(rule.code) or _why_unknown(model, rule)
    for loader in report.loaders:
        rules = [r for r in CATALOGUE if r.check_loader and not (r.check_forecast and loader.name in pairs[1])]
        judged.setdefault((None, loader.name), {}).update({r.code: loader.unknown for r in rules})
    apart = {(f.loader, f.code) for f in report.findings if f.model is None}
    for forecast in report.forecasts:
        codes = {r.code: _why_unforeseen(forecast, r, apart) for r in CATALOGUE if r.check_forecast}
        judged.setdefault((forecast.model, forecast.loader), {}).update(codes)
    return judged


def _rules_of(model: ModelFact, *, in_view: bool) -> Iterable[Rule]:
    """Return the rules that were judged of a model.

    A forecast answers what a batch size does, for every size that comes, and running statistics are judged where there
    are any values.
    """
    values = any(layer.statistics for layer in model.layers)
    for rule in CATALOGUE:
        left_out = in_view if rule.needs == "batch-size" else rule.needs == "statistics" and not values
        if rule.check_model and not left_out:
            yield rule


def _why_unknown(model: ModelFact, rule: Rule) -> str | None:
    if rule.needs not in ("calls", "batch-size"):
        return None
    unknown = next((x for x in model.layers if x.verdict == "unknown"), None)
    if unknown is None:
        return None
    return model.trace_error or unknown.reason or f"what {unknown.label} does is not known"


def _why_unforeseen(forecast: ForecastFact, rule: Rule, apart: set[tuple[str | None, str]]) -> str | None:
    if forecast.stops is None:
        return forecast.unknown or "not known"
    if (forecast.loader, rule.code) in apart:
        return f"found of {forecast.loader} alone: what {forecast.model} does there is not known"
    return None
