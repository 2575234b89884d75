"""The RT rules: each code is what the runtime reports for a failure that really happens."""

from __future__ import annotations

import pytest
import torch
from diagnose.wordings import OLD, refusing
from torch import nn

import bnguard
from bnguard._facts.findings import Severity
from bnguard._rules import CATALOGUE
from bnguard._rules.runtime import RULES, silent_single_sample

FIRES = {
    "RT101": (lambda: nn.BatchNorm1d(4), (1, 4)),
    "RT102": (lambda: nn.BatchNorm2d(4), (2, 4, 3, 3)),
    "RT103": (lambda: nn.BatchNorm2d(4).half(), (2, 4, 3, 3)),
    "RT104": (lambda: nn.BatchNorm2d(4), (2, 5, 3, 3)),
}


@pytest.mark.parametrize("code", FIRES)
def test_a_failure_has_its_code(code: str) -> None:
    make, shape = FIRES[code]
    with refusing(OLD, when=lambda x, cudnn: code == "RT102"), pytest.raises(Exception) as caught, bnguard.guard():  # noqa: PT011
        make()(torch.randn(shape))
    assert caught.value.bnguard.code == code


@pytest.mark.parametrize("code", FIRES)
def test_what_works_has_none(code: str) -> None:
    with bnguard.guard(), refusing(OLD, when=lambda x, cudnn: False):
        nn.BatchNorm2d(4)(torch.randn(2, 4, 3, 3))


def test_rt105_is_a_finding() -> None:
    finding = silent_single_sample("bn", None, 3, 1)
    assert (finding.code, finding.severity, finding.layer) == ("RT105", Severity.WARNING, "bn")
    assert "1 time, first in step 3" in finding.message


def test_every_rule_is_in_the_catalogue() -> None:
    assert [r.code for r in CATALOGUE if r.code.startswith("RT")] == [r.code for r in RULES]
