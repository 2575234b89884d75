"""The report as SARIF 2.1.0, for code scanning and editors.

GitHub refuses a whole file for one result without a place in the repository, or with one outside of it. So every result
has such a place: see ``Places.of_finding``. No path of this machine is written.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from bnguard._report.characters import unicode_text
from bnguard._report.formats.sarif.flows import Flows
from bnguard._report.formats.sarif.parts import descriptor, fingerprint, message, physical
from bnguard._report.places import FileLocation, Places
from bnguard._report.words import short_place
from bnguard._rules import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnguard._facts.findings import Finding, Report
    from bnguard._report.formats import Context

ENDINGS = (".sarif",)

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_NOTIFICATIONS = {
    "problem": "something that was asked for could not be carried out",
    "not-known": "something could not be found out, and so is not judged",
}


def render(context: Context) -> str:
    """Return one SARIF log with one run, ASCII, a line for each result.

    Findings become results, and problems become notifications of the tool.
    """
    report = context.report
    results = ",\n".join(json.dumps(result) for result in _results(report, Places()))
    run = {
        "tool": {"driver": _driver()},
        "invocations": [_invocation(report, context.exit_code)],
        "automationDetails": {"id": f"bnguard/{report.command}/"},
        "originalUriBaseIds": {"%SRCROOT%": {"description": message("the root of the repository")}},
        "columnKind": "unicodeCodePoints",
    }
    head = json.dumps({"$schema": _SCHEMA, "version": "2.1.0"})[:-1]
    return f'{head}, "runs": [{json.dumps(run)[:-1]}, "results": [\n{results}\n]}}]}}\n'


def _driver() -> dict[str, Any]:
    from bnguard import __version__

    return {
        "name": "bnguard",
        "semanticVersion": __version__,
        "informationUri": "https://github.com/bnguard/bnguard",
        "rules": [descriptor(rule) for rule in CATALOGUE],
        "notifications": [{"id": k, "shortDescription": {"text": text}} for k, text in _NOTIFICATIONS.items()],
    }


def _invocation(report: Report, exit_code: int | None) -> dict[str, Any]:
    problems = [_notification("error", f"{p.entry}: {p.error}", "problem") for p in report.problems]
    unknown = [_notification("warning", text, "not-known") for text in _not_known(report)]
    invocation: dict[str, Any] = {
        "executionSuccessful": not report.problems,
        "toolExecutionNotifications": [*problems, *unknown],
    }
    if exit_code is not None:
        invocation["exitCode"] = exit_code
    return invocation


def _not_known(report: Report) -> Iterator[str]:
    """Say what could not be judged, once for each model, loader and pair of them."""
    for model in report.models:
        if model.trace_error:
            yield f"{model.target}: {model.trace_error}"
    for loader in report.loaders:
        if loader.unknown:
            yield f"{loader.name}: {loader.unknown}"
    for forecast in report.forecasts:
        if forecast.stops is None:
            yield f"{forecast.model} on {forecast.loader}: {forecast.unknown or 'not known'}"


def _notification(level: str, text: str, kind: str) -> dict[str, Any]:
    return {"descriptor": {"id": kind}, "level": level, "message": message(text)}


def _results(report: Report, places: Places) -> Iterator[dict[str, Any]]:
    index = {rule.code: i for i, rule in enumerate(CATALOGUE)}
    flows, seen = Flows(report, places), Counter[str]()
    for finding in report.findings:
        place = places.of_finding(finding)
        mark = fingerprint(finding, places)
        seen[mark] += 1
        result: dict[str, Any] = {
            "ruleId": finding.code,
            "level": finding.severity.label,
            "message": message(f"{finding.message}\n\n{finding.fix}" if finding.fix else finding.message),
            "locations": [_location(finding, place)],
            # GitHub knows this one key, and with it an alert stays the same when lines move
            "partialFingerprints": {"primaryLocationLineHash": f"{mark}:{seen[mark]}"},
            "properties": {"model": finding.model, "layer": finding.layer, "loader": finding.loader},
        }
        result["properties"] = {k: unicode_text(v) for k, v in result["properties"].items() if v is not None}
        if finding.code in index:
            result["ruleIndex"] = index[finding.code]
        flow = flows.of(finding)
        if flow:
            result["codeFlows"] = [flow]
        yield result


def _location(finding: Finding, place: FileLocation | None) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": physical(place)}
    if finding.location and (place is None or place.line is None):
        # of a file elsewhere on this machine the name is enough
        location["message"] = message(f"built at {_without_folders(short_place(finding.location))}")
    logical = _logical(finding)
    if logical:
        location["logicalLocations"] = [logical]
    return location


def _logical(finding: Finding) -> dict[str, Any] | None:
    """Return the dotted path of a layer, else the model or the loader itself."""
    if finding.layer:
        name, kind = finding.layer, "member"
    elif finding.model and (finding.layer is not None or not finding.loader):
        name, kind = finding.model, "module"
    elif finding.loader:
        name, kind = finding.loader, "variable"
    else:
        return None
    path = unicode_text(name)
    return {"name": path.rpartition(".")[2] if kind == "member" else path, "fullyQualifiedName": path, "kind": kind}


def _without_folders(place: str) -> str:
    return PurePath(place).name if PurePath(place).is_absolute() else place
