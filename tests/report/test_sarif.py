"""SARIF: valid by the published schema, alerts that survive moved lines, forecasts as flows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from forecast import nets
from hypothesis import HealthCheck, given, settings
from report.examples import reports, sample, schema_file

import bnguard
from bnguard._facts.findings import Finding, Report, Severity
from bnguard._facts.models import SourceLine
from bnguard._report.render import render_as
from bnguard._rules import CATALOGUE

ROOT = Path(__file__).parents[2]


def run_of(report: Report, exit_code: int | None = None) -> dict:
    return json.loads(render_as("sarif", report, exit_code))["runs"][0]


@pytest.fixture(scope="module")
def valid() -> Callable[[Report], None]:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft4Validator(json.loads(schema_file("sarif-2.1.0.schema.json").read_text()))

    def check(report: Report) -> None:
        validator.validate(json.loads(render_as("sarif", report, 1)))

    return check


def test_it_follows_the_published_schema(valid: Callable[[Report], None]) -> None:
    valid(sample())
    valid(Report("scan"))
    valid(bnguard.forecast(nets.cnn(), {"n": 9, "batch_size": 8}, (3, 8, 8)))
    valid(bnguard.audit_loader(n=9, batch_size=8))


@given(reports())
@settings(deadline=None, max_examples=25, suppress_health_check=[*HealthCheck])
def test_any_report_follows_the_published_schema(valid: Callable[[Report], None], report: Report) -> None:
    valid(report)


def test_a_whole_document(golden: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/my net.py").touch()
    (tmp_path / "bnguard.toml").touch()
    monkeypatch.chdir(tmp_path)
    document = json.loads(render_as("sarif", sample(), exit_code=2).replace(bnguard.__version__, "VERSION"))
    rules = document["runs"][0]["tool"]["driver"]["rules"]
    document["runs"][0]["tool"]["driver"]["rules"] = [r for r in rules if r["id"] == "DL107"]
    golden("everything.sarif", json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def test_rules_are_the_catalogue_and_results_point_into_it() -> None:
    run = run_of(sample())
    rules = run["tool"]["driver"]["rules"]
    assert [r["id"] for r in rules] == [rule.code for rule in CATALOGUE]
    assert all(r["help"]["text"] and "### What to do" in r["help"]["markdown"] for r in rules)
    assert [rules[r["ruleIndex"]]["id"] for r in run["results"]] == [f.code for f in sample().findings]


def test_the_place_is_the_line_that_built_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples")
    run = run_of(bnguard.scan("resnet18_gradcam.py"))
    (error,) = [r for r in run["results"] if r["level"] == "error"]
    place = error["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "examples/resnet18_gradcam.py", "uriBaseId": "%SRCROOT%"}
    source = (ROOT / "examples/resnet18_gradcam.py").read_text().splitlines()
    assert "BatchNorm1d" in source[place["region"]["startLine"] - 1]
    (logical,) = error["locations"][0]["logicalLocations"]
    assert logical == {"name": "2", "fullyQualifiedName": "head.2", "kind": "member"}


def test_every_result_has_a_place_in_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code scanning refuses the whole file otherwise."""
    monkeypatch.chdir(tmp_path)
    package = SourceLine("/opt/lib/site-packages/torchvision/models/resnet.py", 60)
    finding = Finding(
        "BN101", Severity.ERROR, "…", model="torchvision.models:resnet18", layer="bn1", layer_line=package
    )
    (result,) = run_of(Report("scan", findings=[finding]))["results"]
    (location,) = result["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "no-file"
    assert location["message"] == {"text": "built at torchvision/models/resnet.py:60"}
    assert str(tmp_path) not in render_as("sarif", Report("scan", findings=[finding]))
    elsewhere = replace(finding, layer_line=SourceLine("/opt/secret/net.py", 4))
    text = render_as("sarif", Report("scan", findings=[finding, elsewhere]))
    assert "/opt/" not in text
    assert "built at net.py:4" in text


def test_alerts_survive_moved_lines_and_tell_layers_apart() -> None:
    def marks(source: str) -> list[str]:
        report = bnguard.scan(f"{source}:Net", (4,))
        return [r["partialFingerprints"]["primaryLocationLineHash"] for r in run_of(report)["results"]]

    net = (
        "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(*[nn.BatchNorm1d(4) for _ in range(3)])\n"
    )
    file = Path("net.py")
    with pytest.MonkeyPatch.context() as patch:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            patch.chdir(folder)
            file.write_text(net)
            before = marks("net.py")
            file.write_text(f"\n\n# moved\n{net}")
            assert marks("net.py") == before
            assert marks("./net.py") == before
            patch.chdir(ROOT)
    assert len(set(before)) == len(before) >= 3


def test_equal_findings_are_two_results() -> None:
    finding = sample().findings[1]
    first, second = run_of(replace(sample(), findings=[finding, finding]))["results"]
    assert first["partialFingerprints"] != second["partialFingerprints"]


def test_a_forecast_is_a_flow_from_the_loader_to_the_layer() -> None:
    results = run_of(bnguard.forecast(nets.cnn(), {"n": 9, "batch_size": 8}, (3, 8, 8)))["results"]
    flows = [r["codeFlows"] for r in results if "codeFlows" in r]
    ((flow,),) = flows
    texts = [x["location"]["message"]["text"] for x in flow["threadFlows"][0]["locations"]]
    assert texts == [
        "train gives 8 + 1",
        "step 2 of 2 of epoch 1: 1 sample",
        "5 (BatchNorm1d) sees one value per channel: ValueError",
    ]
    held = bnguard.forecast(nets.spatial(), {"n": 9, "batch_size": 8}, (3, 8, 8))
    assert not any("codeFlows" in r for r in run_of(held)["results"])


def test_what_went_wrong_is_told_by_the_tool() -> None:
    (invocation,) = run_of(sample(), exit_code=2)["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 2)
    told = [(n["level"], n["message"]["text"]) for n in invocation["toolExecutionNotifications"]]
    assert told == [
        ("error", "models.old: old.py:Net has no class Net"),
        ("warning", "torchvision.models:resnet18: RuntimeError: no"),
        ("warning", "val: it has no length"),
        ("warning", "torchvision.models:resnet18 on val: it has no length"),
    ]
    (fine,) = run_of(Report("scan"), exit_code=0)["invocations"]
    assert fine == {"executionSuccessful": True, "toolExecutionNotifications": [], "exitCode": 0}
