"""A rule that nobody has heard of speaks for itself in every format: what is said of it is what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import bnguard
from bnguard._facts.findings import Finding, Report, Severity
from bnguard._facts.loaders import LoaderFact
from bnguard._report.formats import FORMATS
from bnguard._report.render import render_as
from bnguard._rules import CATALOGUE, Rule, tails
from bnguard._rules.registry import Example

SUMMARY = "the sampler draws a sample twice"
SAYS = {
    "console": f"! train: {SUMMARY}\n",
    "html": f'<bdi class="subject">train</bdi>: <bdi>{SUMMARY}</bdi>',
    "summary": f"- ⚠️ **train**: {SUMMARY}\n",
    "sarif": f'"shortDescription": {{"text": "{SUMMARY}"}}',
    "github": "title=DL109 sample-twice::train: 3 samples come twice\n",
    "junit": 'name="DL109 sample-twice"',
    "json": '"message": "train: 3 samples come twice"',
}
"""The answer, in formats that have answers; in the others what names the rule, or its finding."""


def check(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    yield Finding(rule.code, rule.severity, "3 samples come twice", loader=fact.name)


def declare(monkeypatch: pytest.MonkeyPatch, **others: object) -> None:
    rule = Rule(
        "DL109", "sample-twice", Severity.WARNING, SUMMARY, "why", "fix", "loader", Example("", ""),
        check_loader=check, **others,
    )  # fmt: skip
    monkeypatch.setattr(tails, "RULES", [*tails.RULES, rule])
    monkeypatch.setitem(CATALOGUE._rules, rule.code, rule)


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    declare(monkeypatch)
    return bnguard.audit_loader(n=16, batch_size=8)


@pytest.mark.parametrize("fmt", FORMATS)
def test_its_summary_is_the_headline(report: Report, fmt: str) -> None:
    assert [f.code for f in report.findings] == ["DL109"]
    assert SAYS[fmt] in render_as(fmt, report)


@pytest.mark.parametrize("fmt", ["console", "html", "summary"])
def test_a_headline_of_its_own_comes_first(monkeypatch: pytest.MonkeyPatch, fmt: str) -> None:
    declare(monkeypatch, headline="some samples come twice")
    shown = render_as(fmt, bnguard.audit_loader(n=16, batch_size=8))
    assert SAYS[fmt].replace(SUMMARY, "some samples come twice") in shown


def test_it_speaks_in_a_range_and_in_a_check_as_well(report: Report) -> None:
    assert f"! 2 of 2 sizes: {SUMMARY}\n" in render_as("console", bnguard.audit_loader(n="16..17", batch_size=20))
    assert SAYS["console"] in render_as("console", replace(report, command="check"))


def test_what_a_rule_needs_decides_where_it_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule about running statistics is no case where a model has no values."""
    rule = Rule("BN399", "new", Severity.NOTE, "a", "b", "c", "statistics", Example("", ""), check_model=lambda *_: ())
    monkeypatch.setitem(CATALOGUE._rules, rule.code, rule)
    report = bnguard.scan("torchvision.models:resnet18", (3, 64, 64))
    assert "BN399" not in render_as("junit", report)
    monkeypatch.setitem(CATALOGUE._rules, rule.code, replace(rule, needs="configuration"))
    assert "BN399" in render_as("junit", report)


def test_a_rule_that_counts_unused_samples_leaves_no_remark_about_them(monkeypatch: pytest.MonkeyPatch) -> None:
    remark = "unused   1 of 17 samples"
    declare(monkeypatch)
    assert remark in render_as("console", bnguard.audit_loader(n=17, batch_size=8, drop_last=True))
    monkeypatch.undo()
    declare(monkeypatch, counts_unused=True)
    assert remark not in render_as("console", bnguard.audit_loader(n=17, batch_size=8, drop_last=True))


def test_a_code_that_no_rule_has_is_its_own_headline() -> None:
    fact = bnguard.audit_loader(n=16, batch_size=8).loaders[0]
    finding = Finding("XX101", Severity.WARNING, "train: odd", loader="train")
    report = Report("audit-loader", loaders=(fact,), findings=(finding,))
    assert render_as("console", report).startswith("! train: XX101\n")
    for fmt in FORMATS:
        assert "odd" in render_as(fmt, report)


def test_no_reporter_knows_a_rule_by_its_code() -> None:
    room = Path(bnguard.__file__).parent / "_report"
    for path in (p for p in room.rglob("*") if p.suffix in (".py", ".html", ".js", ".css")):
        assert not re.search(r"\b(BN|DL|RT)\d|[\"'](BN|DL|RT)[\"']", path.read_text(encoding="utf-8")), path
