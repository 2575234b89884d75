"""The report as JUnit XML: a suite for a model, a loader or a pair of them, a case for each rule that was judged there.

Findings of severity error make a case fail. Warnings and notes do not: they stand in the output of the suite, which CI
servers show beside the cases. What could not be known is skipped, what could not be carried out is an error.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from bnguard._facts.findings import Severity
from bnguard._report.characters import visible, xml_text
from bnguard._report.formats.junit.suites import Case, Suite, suites
from bnguard._report.words import short_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnguard._facts.findings import Finding, Report
    from bnguard._report.formats import Context

ENDINGS = (".xml",)


def render(context: Context) -> str:
    """Return one ``testsuites`` document; ASCII, with other characters as references."""
    report = context.report
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    root = ET.Element("testsuites")
    for number, suite in enumerate(suites(report)):
        root.append(_suite(suite, number, now, report))
    ET.indent(root)
    body = ET.tostring(root, encoding="us-ascii", xml_declaration=False).decode("ascii")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _suite(suite: Suite, number: int, now: str, report: Report) -> ET.Element:
    failures = sum(1 for case in suite.cases if _errors(case))
    element = ET.Element(
        "testsuite",
        {
            "name": _name(suite.name),
            "package": f"bnguard.{report.command}",
            "id": str(number),
            "timestamp": now,
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


def _properties(suite: Suite, report: Report) -> Iterator[tuple[str, str]]:
    from bnguard import __version__

    yield "bnguard", __version__
    if report.torch:
        yield "torch", report.torch
    found = [f for case in suite.cases for f in case.findings]
    for severity in sorted(Severity, reverse=True):
        yield f"{severity.label}s", str(sum(f.severity is severity for f in found))


def _case(case: Case, suite: Suite) -> ET.Element:
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


def _errors(case: Case) -> Sequence[Finding]:
    return [f for f in case.findings if f.severity is Severity.ERROR]


def _paragraph(finding: Finding) -> str:
    place = f"{visible(short_place(finding.location))}: " if finding.location else ""
    text = f"{place}{finding.severity.label} {finding.code}: {visible(finding.message)}"
    return f"{text}\n    fix: {visible(finding.fix)}" if finding.fix else text


def _text(parts: Iterator[str]) -> str:
    return xml_text("\n".join(parts))


def _line(text: str) -> str:
    return xml_text(visible(text))


def _name(text: str) -> str:
    """Return a name on one line that is not empty: whitespace at its ends is not kept by readers."""
    return " ".join(_line(text).split()) or "(unnamed)"
