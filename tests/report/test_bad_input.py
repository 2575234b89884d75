"""No name and no message breaks a format: each is read back by a reader that is not ours, and the counts are right."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from urllib.parse import unquote, urljoin
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from report.examples import NASTY, reports
from report.runner import commands

from bnguard._facts.findings import Finding, Report, Severity
from bnguard._facts.models import SourceLine
from bnguard._remedies import Advice
from bnguard._report.characters import acts, visible, xml_text
from bnguard._report.formats.github import MOST
from bnguard._report.render import render_as
from bnguard._report.words import totals

usual = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
LINK_OR_PLACEHOLDER = re.compile(r"(?<!\{)\{\d+\}(?!\})|\]\(")
"""What SARIF makes of ``[text](target)`` and ``{0}``."""
RIGHT_TO_LEFT = set("\u200f\u202e\u2067")


def counts(report: Report) -> dict[str, int]:
    return {s.label: report.count(s) for s in Severity}


@given(reports())
@usual
def test_json(report: Report) -> None:
    document = json.loads(render_as("json", report))
    assert Counter(f["severity"] for f in document["findings"]) == Counter(f.severity.label for f in report.findings)
    assert [f["message"] for f in document["findings"]] == [f.message for f in report.findings]
    assert document["summary"] == {f"{k}s": v for k, v in counts(report).items()}


@given(reports())
@usual
def test_sarif(report: Report) -> None:
    text = render_as("sarif", report, exit_code=1)
    assert text.isascii()
    (run,) = json.loads(text)["runs"]
    assert Counter(r["level"] for r in run["results"]) == Counter(f.severity.label for f in report.findings)
    marks = [r["partialFingerprints"]["primaryLocationLineHash"] for r in run["results"]]
    assert len(set(marks)) == len(marks)
    json.dumps(run, ensure_ascii=False).encode()  # no lone surrogates, which other readers refuse
    for result in run["results"]:
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"(?!/)(?![A-Za-z][\w+.-]*:)(?:[\w.~/-]|%[0-9A-F]{2}|(?<!^):)+", uri), uri
        assert location["physicalLocation"]["region"]["startLine"] >= 1
        assert not LINK_OR_PLACEHOLDER.search(result["message"]["text"])


@given(reports())
@usual
def test_junit(report: Report) -> None:
    text = render_as("junit", report)
    assert text.isascii()
    root = ET.fromstring(text)
    told = dict.fromkeys(counts(report), 0)
    for suite in root:
        cases = suite.findall("testcase")
        assert len({c.get("name") for c in cases}) == len(cases) or report.problems
        for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.get(attribute, "")) == sum(c.find(kind) is not None for c in cases)
        assert int(suite.get("tests", "")) == len(cases)
        for item in suite.findall("properties/property"):
            if (item.get("name") or "")[:-1] in told:
                told[item.get("name")[:-1]] += int(item.get("value"))
    assert told == counts(report)
    broken = [c for c in root.iter("testcase") if c.find("failure") is not None]
    assert len(broken) == len({(f.model, f.loader, f.code) for f in report.findings if f.severity is Severity.ERROR})


@given(reports())
@usual
def test_github(report: Report) -> None:
    text = render_as("github", report)
    found = commands(text)
    kinds = Counter(c.name for c in found)
    words = {"error": "error", "warning": "warning", "note": "notice"}
    assert set(kinds) <= {*words.values(), "group", "endgroup"}
    assert kinds["group"] == kinds["endgroup"] == bool(report.findings)
    assert all(kinds[word] <= MOST for word in words.values())
    assert all(set(c.properties) <= {"file", "line", "title"} for c in found if c.name in words.values())
    listed = text.partition("::group::")[2].partition("\n::endgroup::")[0].splitlines()[1:]
    assert Counter(line.split()[0] for line in listed) == Counter(f.severity.label for f in report.findings)
    assert text.splitlines()[-1] == f"bnguard: {totals(report)}"
    assert not any(acts(line) for line in text.splitlines())


@given(reports())
@usual
def test_job_summary(report: Report) -> None:
    text = render_as("summary", report)
    rows = [line for line in text.splitlines() if re.match(r"\| (🛑|⚠️|\u2139\ufe0f) \|", line)]
    assert len(rows) == len(report.findings)
    for row in rows:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 5, row  # four cells
    tags = set(re.findall(r"(?<!\\)<[^>]*>", text))
    assert tags <= {"<br>"}


@given(reports())
@usual
def test_console(report: Report) -> None:
    shown = render_as("console", report, width=80)
    shown.encode()
    assert not any(acts(line) for line in shown.split("\n"))


@pytest.mark.parametrize("name", NASTY)
def test_a_message_is_read_back_as_it_was(name: str) -> None:
    finding = Finding("BN101", Severity.ERROR, name, layer=name)
    (error,) = [c for c in commands(render_as("github", Report("scan", findings=[finding]))) if c.name == "error"]
    assert error.data == visible(f"{name}.".lstrip())
    failure = ET.fromstring(render_as("junit", Report("scan", findings=[finding]))).find(".//failure")
    assert failure is not None
    assert failure.get("message") == xml_text(visible(f"{name}.".lstrip()))
    (result,) = json.loads(render_as("sarif", Report("scan", findings=[finding])))["runs"][0]["results"]
    layer = result["locations"][0].get("logicalLocations", [{"fullyQualifiedName": ""}])[0]["fullyQualifiedName"]
    assert not LINK_OR_PLACEHOLDER.search(result["message"]["text"])
    assert layer == name.replace("\ud800", "\ufffd").replace("\udfff", "\ufffd").replace("\udc80", "\ufffd")


@pytest.mark.parametrize("name", ["a,line=9", "a:b", "a%0Ab", "a::b", "100%", "ü b.py"])
def test_a_file_of_any_name_is_one_property(name: str) -> None:
    finding = Finding("BN101", Severity.ERROR, "…", layer_line=SourceLine(name, 3))
    (error,) = [c for c in commands(render_as("github", Report("scan", findings=[finding]))) if c.name == "error"]
    assert error.properties == {"file": name, "line": "3", "title": "BN101 one-value-per-channel"}
    (result,) = json.loads(render_as("sarif", Report("scan", findings=[finding])))["runs"][0]["results"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert unquote(urljoin("file:///top/", uri)) == f"file:///top/{name}"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_the_console_writes_what_the_encoding_has(encoding: str) -> None:
    from rich.console import Console

    findings = [
        Finding("BN101", Severity.ERROR, "…", name, remedies=(Advice("eps", f"{name}!"),), layer=name) for name in NASTY
    ]
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    from bnguard._report.formats.console.page import Page

    Page(Console(file=file, width=80)).findings(findings, most=len(findings))
    file.flush()
    shown = raw.getvalue().decode(encoding)
    assert shown.count("error BN101") == len(NASTY)
    assert not RIGHT_TO_LEFT & set(shown)
