"""The report as JUnit XML: a suite for a model, a loader or a pair of them, a case for each rule that was judged there.

Findings of severity error make a case fail. Warnings and notes do not: they stand in the output of the suite, which CI
servers show beside the cases. What could not be known is skipped, what could not be carried out is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from bnguard._facts.findings import Severity
from bnguard._report.characters import visible, xml_text
from bnguard._report.moment import now
from bnguard._rules import CATALOGUE, rule_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bnguard._facts.findings import Finding, Problem, Report
    from bnguard._facts.forecasts import ForecastFact
    from bnguard._facts.models import ModelFact
    from bnguard._report.formats import Context
    from bnguard._rules import Rule

    _Key = tuple[str | None, str | None]

ENDINGS = (".xml",)


@dataclass
class _Case:
    """One rule at one model, loader or pair: its findings, or why it is not known; or a problem."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    unknown: str | None = None
    problem: Problem | None = None


@dataclass
class _Suite:
    """The cases of one model, loader, or model on a loader."""

    name: str
    cases: list[_Case] = field(default_factory=list)


def render(context: Context) -> str:
    """Return one ``testsuites`` document; ASCII, with other characters as references."""
    report = context.report
    made = now().strftime("%Y-%m-%dT%H:%M:%S")
    root = ET.Element("testsuites")
    for number, suite in enumerate(_suites(report)):
        root.append(_suite(suite, number, made, report))
    ET.indent(root)
    body = ET.tostring(root, encoding="us-ascii", xml_declaration=False).decode("ascii")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _suite(suite: _Suite, number: int, made: str, report: Report) -> ET.Element:
    failures = sum(1 for case in suite.cases if _errors(case))
    element = ET.Element(
        "testsuite",
        {
            "name": _name(suite.name),
            "package": f"bnguard.{report.command}",
            "id": str(number),
            "timestamp": made,
            "hostname": "localhost",  # whose it is does not matter, and is nobody's business
            "tests": str(len(suite.cases)),
            "failures": str(failures),
            "errors": str(sum(case.problem is not None for case in suite.cases)),
            "skipped": str(sum(case.unknown is not None for case in suite.cases)),
            "time": "0",
        },
    )
    properties = ET.SubElement(element, "properties")
    for name, value in _properties(suite, report):
        ET.SubElement(properties, "property", {"name": name, "value": value})
    for case in suite.cases:
        element.append(_case(case, suite))
    quiet = [f for case in suite.cases for f in case.findings if f.severity is not Severity.ERROR]
    ET.SubElement(element, "system-out").text = _text(map(_paragraph, quiet))
    ET.SubElement(element, "system-err").text = ""
    return element


def _properties(suite: _Suite, report: Report) -> Iterator[tuple[str, str]]:
    from bnguard import __version__

    yield "bnguard", __version__
    if report.torch:
        yield "torch", report.torch
    found = [f for case in suite.cases for f in case.findings]
    for severity in sorted(Severity, reverse=True):
        yield f"{severity.label}s", str(sum(f.severity is severity for f in found))


def _case(case: _Case, suite: _Suite) -> ET.Element:
    # a dot would make a server cut the name into packages
    owner = _name(suite.name).replace(".", "_")
    element = ET.Element("testcase", {"name": _name(case.name), "classname": f"bnguard.{owner}", "time": "0"})
    errors = _errors(case)
    if case.problem is not None:
        attributes = {"message": _line(case.problem.error), "type": "not carried out"}
        rest = [case.problem.hint or "", *(case.problem.detail or "").splitlines()]
        ET.SubElement(element, "error", attributes).text = _text(map(visible, filter(None, rest)))
    elif case.unknown is not None:
        ET.SubElement(element, "skipped", {"message": _line(case.unknown)})
    elif errors:
        more = f" (and {len(errors) - 1:,} more)" if len(errors) > 1 else ""
        attributes = {"message": _line(errors[0].message) + more, "type": errors[0].code}
        ET.SubElement(element, "failure", attributes).text = _text(map(_paragraph, errors))
    return element


def _errors(case: _Case) -> Sequence[Finding]:
    return [f for f in case.findings if f.severity is Severity.ERROR]


def _paragraph(finding: Finding) -> str:
    place = f"{visible(finding.location.short)}: " if finding.location else ""
    text = f"{place}{finding.severity.label} {finding.code}: {visible(finding.message)}"
    return f"{text}\n    fix: {visible(finding.fix)}" if finding.fix else text


def _text(parts: Iterator[str]) -> str:
    return xml_text("\n".join(parts))


def _line(text: str) -> str:
    return xml_text(visible(text))


def _name(text: str) -> str:
    """Return a name on one line that is not empty: whitespace at its ends is not kept by readers."""
    return " ".join(_line(text).split()) or "(unnamed)"


def _suites(report: Report) -> Iterator[_Suite]:
    """Return the suites in the order of problems, models, loaders, forecasts, and what findings speak of besides."""
    if report.problems:
        yield _Suite(report.command, [_Case(p.entry, problem=p) for p in report.problems])
    judged = _judged(report)
    found: dict[tuple[_Key, str], list[Finding]] = {}
    for finding in report.findings:
        found.setdefault((_key(finding), finding.code), []).append(finding)
        judged.setdefault(_key(finding), {}).setdefault(finding.code, None)
    for key, rules in judged.items():
        cases = []
        for code in sorted(c for c in rules if report.shows(c)):
            findings = found.get((key, code), [])
            rule = rule_of(code)
            name = f"{code} {rule.name}" if rule else code
            cases.append(_Case(name, findings, None if findings else rules[code]))
        yield _Suite(" on ".join(part for part in key if part is not None) or "bnguard", cases)


def _key(finding: Finding) -> _Key:
    return finding.model, finding.loader


def _judged(report: Report) -> dict[_Key, dict[str, str | None]]:
    """Return the codes that were judged for each key, with why the answer is not known where it is not."""
    judged: dict[_Key, dict[str, str | None]] = {}
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
