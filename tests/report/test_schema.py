"""docs/schema describes what is printed, for every command, and refuses what is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SCHEMA, without_further_keys
from forecast import nets
from hypothesis import HealthCheck, given, settings
from report.examples import reports, sample
from torch import nn

import bnguard
from bnguard._facts.findings import Report
from bnguard._report.formats import json as as_json
from bnguard._report.render import render_as

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).parents[2]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_the_hook_sees_every_document() -> None:
    report = bnguard.audit_loader(n=9, batch_size=8)
    broken = Report("audit-loader", loaders=report.loaders, extra={"undocumented": 1})
    with pytest.raises(jsonschema.ValidationError, match="undocumented"):
        render_as("json", broken)
    with pytest.raises(jsonschema.ValidationError, match="'one' is not of type 'integer'"):
        render_as("json", bnguard.Report("audit-loader", extra={"range": {"from": "one", "to": 2}}))
    with pytest.raises(jsonschema.ValidationError, match="'diagnosis' is a required property"):
        as_json.render_document({"bnguard": "0", "schema": 1, "command": "explain-error"})


@pytest.mark.parametrize(
    "argv",
    [
        ["scan", "examples/deeplab_aspp.py"],
        ["audit-loader", "--n", "9", "--bs", "8"],
        ["audit-loader", "--n", "9..40", "--bs", "8", "--split", "0.8,0.2"],
        ["audit-loader", "--n", "35", "--bs", "4", "--iterable", "--workers", "4", "--shard", "ceil"],
        ["audit-loader", "--n", "13", "--bs", "13", "--replicas", "4", "--micro-batches", "2", "--world-size", "2"],
        ["explain-error", "tests/fixtures/logs/one_value.txt"],
    ],
    ids=lambda argv: " ".join(argv[:4]),
)
def test_what_the_commands_print(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    from bnguard._cli.app import run

    monkeypatch.chdir(ROOT)
    assert run([*argv, "--format", "json"]) in (0, 1)
    document = json.loads(capsysbinary.readouterr().out)
    assert document["command"] == argv[0]


def test_forecasts_and_what_could_not_be_carried_out() -> None:
    render_as("json", bnguard.forecast(nets.cnn(), {"n": 9, "batch_size": 8}, (3, 8, 8)))
    render_as("json", bnguard.forecast(nets.Reshapes(), {"n": 9, "batch_size": 8}, (3, 8, 8)))
    render_as("json", bnguard.forecast(nets.cnn(), {"n": 13, "batch_size": 8, "micro_batches": 4}, (3, 8, 8)))
    assert json.loads(render_as("json", sample()))["problems"][0]["entry"] == "models.old"
    render_as("json", bnguard.scan(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, eps=float("nan"))), (5,)))


@given(reports())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_any_report(report: Report) -> None:
    render_as("json", report)


def printed(folder: Path, *argv: str) -> dict:
    """What a process of its own prints, which the hook does not see."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    line = [sys.executable, "-m", "bnguard", *argv]
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder, env=env, check=False)
    document = json.loads(done.stdout)
    strict = without_further_keys(json.loads(SCHEMA.read_text(encoding="utf-8")))
    jsonschema.Draft202012Validator(strict).validate(document)
    return document


def test_check_with_something_that_cannot_be_carried_out(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.bnguard.models.gone]\ntarget = "gone.py:Net"\n[tool.bnguard.loaders.train]\nn = 9\nbatch-size = 8\n'
        "feeds = []\n"
    )
    document = printed(tmp_path, "check", "--format", "json")
    assert [p["entry"] for p in document["problems"]] == ["models.gone"]
    assert [f["code"] for f in document["findings"]] == ["DL101"]


def test_preflight() -> None:
    document = printed(ROOT, "preflight", "--format", "json", "examples/training/resnet18_split.py")
    assert document["command"] == "preflight"
    assert document["forecasts"]
