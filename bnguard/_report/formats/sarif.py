"""The report as SARIF 2.1.0, for code scanning and editors.

GitHub refuses a whole file for one result without a place in the repository, or with one outside of it. So every result
has such a place: see ``Places.of_finding``. No path of this machine is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bnguard._facts.loaders import runs_text
from bnguard._report.characters import unicode_text
from bnguard._report.places import FileLocation, Places
from bnguard._report.words import advice_of, paragraphs
from bnguard._rules import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnguard._facts.findings import Finding, Report
    from bnguard._facts.forecasts import ForecastFact
    from bnguard._facts.loaders import LoaderFact
    from bnguard._report.formats import Context
    from bnguard._rules import Rule

ENDINGS = (".sarif",)

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_NOTIFICATIONS = {
    "problem": "something that was asked for could not be carried out",
    "not-known": "something could not be found out, and so is not judged",
}
_PLACEHOLDER = re.compile(r"\{(?=\d+\})|(?<=\{)(\d+)\}")
_NOWHERE = "no-file"
"""Stands where a finding is about numbers alone: GitHub wants a file for every result, and asks none to exist."""

_PAGE = "https://github.com/bnguard/bnguard/blob/main/docs/reference/rules.md"
_SEVERITY = {"error": "error", "warning": "warning", "note": "recommendation"}
"""GitHub's words for the severities of problems that are not about security."""

_TAG = {"model": "batchnorm", "loader": "dataloader", "run": "runtime"}


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
        "originalUriBaseIds": {"%SRCROOT%": {"description": _message("the root of the repository")}},
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
        "rules": [_descriptor(rule) for rule in CATALOGUE],
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
    return {"descriptor": {"id": kind}, "level": level, "message": _message(text)}


def _results(report: Report, places: Places) -> Iterator[dict[str, Any]]:
    index = {rule.code: i for i, rule in enumerate(CATALOGUE)}
    flows, seen = _Flows(report, places), Counter[str]()
    for finding in report.findings:
        place = places.of_finding(finding)
        mark = _fingerprint(finding, places)
        seen[mark] += 1
        result: dict[str, Any] = {
            "ruleId": finding.code,
            "level": finding.severity.label,
            "message": _message(f"{finding.message}\n\n{finding.fix}" if finding.fix else finding.message),
            "locations": [_location(finding, place)],
            # GitHub knows this one key, and with it an alert stays the same when lines move
            "partialFingerprints": {"primaryLocationLineHash": f"{mark}:{seen[mark]}"},
            "properties": {"model": finding.model, "layer": finding.layer, "loader": finding.loader},
        }
        result["properties"] = {k: unicode_text(v) for k, v in result["properties"].items() if v is not None}
        if finding.code in index:
            result["ruleIndex"] = index[finding.code]
        related = [
            _related(place.words, where) for place in finding.places[1:] if (where := places.of_line(place.line))
        ]
        if related:
            result["relatedLocations"] = related
        flow = flows.of(finding)
        if flow:
            result["codeFlows"] = [flow]
        yield result


def _location(finding: Finding, place: FileLocation | None) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": _physical(place)}
    if finding.location and (place is None or place.line is None):
        # of a file elsewhere on this machine the name is enough
        location["message"] = _message(f"{finding.places[0].words} {_without_folders(finding.location.short)}")
    logical = _logical(finding)
    if logical:
        location["logicalLocations"] = [logical]
    return location


def _related(words: str, place: FileLocation) -> dict[str, Any]:
    """Return a second place of a finding; its words end where the viewer shows the place."""
    return {"physicalLocation": _physical(place), "message": _message(words)}


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


class _Flows:
    """The forecasts that stop, found by the findings that say so."""

    def __init__(self, report: Report, places: Places) -> None:
        self._stops = {(f.model, f.loader): f for f in report.forecasts if f.stops and f.at}
        self._loaders = {loader.name: loader for loader in report.loaders}
        self._places = places

    def of(self, finding: Finding) -> dict[str, Any] | None:
        """Return the flow that ends at the finding's layer, None for a finding that no stopping forecast is behind."""
        forecast = self._stops.get((finding.model or "", finding.loader or ""))
        if forecast is None or forecast.layer != finding.layer:
            return None
        loader = self._loaders.get(forecast.loader)
        layer = self._places.of_finding(finding)
        source = self._places.of_line(loader.source if loader else None) or layer
        steps = ((source, _batches(forecast, loader)), (source, _step(forecast)), (layer, _layer(forecast)))
        return {"threadFlows": [{"locations": [_at(place, text) for place, text in steps]}]}


def _at(place: FileLocation | None, text: str) -> dict[str, Any]:
    return {"location": {"physicalLocation": _physical(place), "message": _message(text)}}


def _batches(forecast: ForecastFact, loader: LoaderFact | None) -> str:
    rank = forecast.rank or 0
    stream = next((s for s in loader.streams if s.ranks[0] <= rank <= s.ranks[1]), None) if loader else None
    return f"{forecast.loader} gives {runs_text(stream.batches)}" if stream else forecast.loader


def _step(forecast: ForecastFact) -> str:
    size = forecast.batch_size
    text = f"{forecast.place} of epoch {forecast.epoch}: " if forecast.place else ""
    text += "1 sample" if size == 1 else f"{size} samples"
    parts = (("rank", forecast.rank or None), ("replica", forecast.replica), ("micro-batch", forecast.micro_batch))
    return text + "".join(f", {name} {value}" for name, value in parts if value is not None)


def _layer(forecast: ForecastFact) -> str:
    at = forecast.at
    return f"{at.label} ({at.layer_type or 'layer'}) {at.sees}: {at.error}" if at else forecast.loader


def _message(text: str) -> dict[str, str]:
    """Return a message in which nothing is a placeholder (``{0}``) or a link (``[text](target)``) by accident."""
    plain = unicode_text(text)
    if "{" in plain:
        plain = _PLACEHOLDER.sub(lambda m: "{{" if m[1] is None else m[1] + "}}", plain)
    return {"text": plain.replace("](", "] (") or " "}


def _physical(place: FileLocation | None) -> dict[str, Any]:
    """Return the place in the repository; line 1 where only the file is known."""
    path = place.path if place else _NOWHERE
    uri = quote(os.fsencode(path) if _is_of_the_disk(path) else path.encode(errors="replace"))
    line = place.line if place and place.line else 1
    # a colon in the first part would make that part a scheme
    relative = f"./{uri}" if ":" in uri.partition("/")[0] else uri
    return {"artifactLocation": {"uri": relative, "uriBaseId": "%SRCROOT%"}, "region": {"startLine": line}}


def _fingerprint(finding: Finding, places: Places) -> str:
    """Return what stays the same while lines move: a hash of the code, the model or loader, and the path in it."""
    model = places.named_from_root(finding.model) if finding.model else ""
    parts = (finding.code, model, finding.loader or "", finding.layer or "")
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _descriptor(rule: Rule) -> dict[str, Any]:
    """Return the rule with its help, as text and as Markdown."""
    why, fix = paragraphs(rule.why), advice_of(rule)
    plain = [f"{rule.summary[0].upper()}{rule.summary[1:]}.", "Why", *why, "What to do", *fix]
    marked = [f"**{rule.name}**: {rule.summary}", "### Why", *why, "### What to do", *fix]
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": " ".join(why)},
        "help": {"text": "\n\n".join(plain), "markdown": "\n\n".join(marked)},
        "helpUri": f"{_PAGE}#{rule.code.lower()}",
        "defaultConfiguration": {"level": rule.severity.label},
        "properties": {
            "tags": ["pytorch", _TAG[rule.subject]],
            "precision": "very-high",
            "problem.severity": _SEVERITY[rule.severity.label],
        },
    }


def _is_of_the_disk(path: str) -> bool:
    """Whether the name has bytes that Python could not decode, which ``os.fsencode`` gives back as they were."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True
