"""The registry refuses duplicates and helps with a mistyped code."""

from __future__ import annotations

import pytest

from bnguard.errors import UsageError
from bnguard.findings import Severity
from bnguard.rules import CATALOGUE, Catalogue, Rule
from bnguard.rules.registry import Example


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
    CATALOGUE.require_prefixes(["BN", "BN1", "DL101"])
    with pytest.raises(UsageError):
        CATALOGUE.require_prefixes(["BN9"])
