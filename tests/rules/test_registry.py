"""The registry refuses duplicates and helps with a mistyped code."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from bnguard._errors import UsageError
from bnguard._facts.findings import Severity
from bnguard._rules import CATALOGUE, Catalogue, Rule, rule_of
from bnguard._rules.registry import Example


def rule(code: str, name: str) -> Rule:
    return Rule(code, name, Severity.NOTE, "a", "b", "c", "run", Example("", ""))


def test_duplicates_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Catalogue([rule("BN1", "a"), rule("BN1", "b")])
    with pytest.raises(ValueError, match="twice"):
        Catalogue([rule("BN1", "a"), rule("BN2", "a")])


@pytest.mark.parametrize("text", ["BN101", "bn101", " BN101 ", "one-value-per-channel", "One-Value-Per-Channel"])
def test_a_rule_by_code_or_name(text: str) -> None:
    assert CATALOGUE.get(text).code == "BN101"


@pytest.mark.parametrize(
    ("text", "near"), [("BN1O1", "BN101"), ("one-value", "one-value-per-channel"), ("DL11", "DL101")]
)
def test_a_mistyped_code_names_the_near_ones(text: str, near: str) -> None:
    with pytest.raises(UsageError) as error:
        CATALOGUE.get(text)
    assert near in str(error.value.hint)


def test_prefixes_that_match_nothing_are_refused() -> None:
    assert CATALOGUE.prefixes(["BN, bn1", "DL101"]) == ("BN", "BN1", "DL101")
    with pytest.raises(UsageError):
        CATALOGUE.prefixes(["BN9"])


def test_a_rule_by_exactly_its_code() -> None:
    found = CATALOGUE.find("BN101")
    assert found is not None
    assert rule_of("BN101") is found
    assert CATALOGUE.find("bn101") is rule_of("bn101") is CATALOGUE.find("XX1") is rule_of("") is None


def test_the_headline_is_the_summary_where_no_other_is_given() -> None:
    assert rule("BN1", "a").headline == "a"
    assert dataclasses.replace(rule("BN1", "a"), headline="short").headline == "short"


def test_a_headline_of_a_single_batch_names_its_step() -> None:
    for each in CATALOGUE:
        if each.headline_at:
            assert "2 of 3" in each.headline_at.format(step="2", steps="3"), each.code


def test_a_rule_of_a_model_says_what_it_needs() -> None:
    """What a rule's file is about decides: a rule that passes where nothing is known says what nobody knows."""
    needs = {(each.code[:3], each.needs) for each in CATALOGUE if each.subject == "model"}
    wanted = {("BN1", "batch-size"), ("BN2", "configuration"), ("BN2", "calls"), ("BN3", "statistics")}
    assert needs == wanted
    assert {(each.code[:2], each.subject) for each in CATALOGUE} == {("BN", "model"), ("DL", "loader"), ("RT", "run")}


def test_the_rule_of_a_loader_is_found_without_the_facts_of_models() -> None:
    script = (
        "import sys; from bnguard._rules import tails, rule_of; rule = rule_of('DL101');"
        "assert 'bnguard._facts.models' not in sys.modules;"
        "from bnguard._rules import CATALOGUE; assert rule is CATALOGUE.find('DL101') is rule_of('DL101')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
