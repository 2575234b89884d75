"""JUnit XML: valid by its schema, a case a rule, a failure for an error alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from forecast import nets
from hypothesis import HealthCheck, given, settings
from report.examples import reports, sample, schema_file
from torch import Tensor, nn

import bnguard
from bnguard._facts.findings import Report
from bnguard._report.render import render_as


def states(report: Report) -> dict[str, dict[str, str]]:
    """What became of each case, by suite."""
    root = ET.fromstring(render_as("junit", report))
    return {
        suite.get("name", ""): {
            case.get("name", "").split()[0]: next((child.tag for child in case), "passed")
            for case in suite.findall("testcase")
        }
        for suite in root
    }


@pytest.fixture(scope="module")
def valid() -> Callable[[Report], None]:
    xmlschema = pytest.importorskip("xmlschema")
    schema = xmlschema.XMLSchema(str(schema_file("junit.xsd")))
    return lambda report: schema.validate(render_as("junit", report))


def test_it_follows_the_schema(valid: Callable[[Report], None]) -> None:
    valid(sample())
    valid(Report("scan"))
    valid(bnguard.forecast(nets.cnn(), {"n": 9, "batch_size": 8}, (3, 8, 8)))
    valid(bnguard.audit_loader(n="9..20", batch_size=8))


@given(reports())
@settings(deadline=None, max_examples=25, suppress_health_check=[*HealthCheck])
def test_any_report_follows_the_schema(valid: Callable[[Report], None], report: Report) -> None:
    valid(report)


def test_a_whole_document(golden: Callable[[str, str], None]) -> None:
    text = re.sub(r'timestamp="[^"]*"', 'timestamp="NOW"', render_as("junit", sample()))
    golden("everything.xml", text.replace(f'"{bnguard.__version__}"', '"VERSION"'))


def test_a_rule_that_was_judged_and_silent_passes() -> None:
    found = states(bnguard.scan(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (4,)))["Sequential"]
    assert found.pop("BN101") == "failure"
    assert found["BN105"] == found["BN201"] == "passed"
    assert set(found.values()) == {"passed"}


def test_warnings_do_not_fail_and_are_shown() -> None:
    report = bnguard.scan(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (3, 8, 8))
    assert [f.code for f in report.findings] == ["BN102"]
    assert states(report)["Sequential"]["BN102"] == "passed"
    assert "warning BN102" in (ET.fromstring(render_as("junit", report)).findtext("testsuite/system-out") or "")


def test_what_is_not_known_is_skipped_and_configuration_is_still_judged() -> None:
    found = states(bnguard.scan(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (5,)))["Sequential"]
    assert (found["BN101"], found["BN201"]) == ("skipped", "passed")


def test_rules_left_out_are_not_said_to_pass() -> None:
    report = bnguard.scan(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (4,))
    left = set(states(report.filtered(["BN1"], ["BN102"]))["Sequential"])
    assert left == {"BN101", "BN103", "BN104", "BN105", "BN106"}


def test_running_statistics_are_judged_where_there_are_values() -> None:
    without = bnguard.scan("torchvision.models:resnet18", (3, 64, 64))
    assert not any(code.startswith("BN3") for code in states(without)["torchvision.models:resnet18"])


def test_a_forecast_is_a_suite_of_the_pair() -> None:
    found = states(bnguard.forecast(nets.cnn(), {"n": 9, "batch_size": 8}, (3, 8, 8)))
    assert list(found) == ["Sequential", "train", "Sequential on train"]
    assert found["Sequential on train"]["DL101"] == "failure"
    assert not any(code.startswith("BN1") for code in found["Sequential"])
    assert "DL101" not in found["train"]
    unknown = states(bnguard.forecast(nets.Reshapes(), {"n": 9, "batch_size": 8}, (3, 8, 8)))
    assert "passed" not in unknown["Reshapes on train"].values()


def test_what_could_not_be_carried_out_is_an_error() -> None:
    assert states(sample())["check"] == {"models.old": "error"}
    assert "check" not in states(replace(sample(), problems=()))


@pytest.mark.parametrize("code", ["BN203", "BN205"])
def test_a_rule_of_calls_does_not_pass_where_the_forward_was_not_followed(code: str) -> None:
    class Net(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum().item() != "what shapes do not tell":
                raise RuntimeError("not this input")
            return super().forward(x)

    model = Net(nn.Conv2d(3, 4, 8), nn.GroupNorm(4, 4), nn.BatchNorm2d(4).half())
    assert states(bnguard.scan(model, (3, 8, 8), batch_size=2))["Net"][code] == "skipped"
    followed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.BatchNorm2d(4))
    assert states(bnguard.scan(followed, (3, 8, 8), batch_size=2))["Sequential"][code] == "passed"
