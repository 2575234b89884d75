"""The JSON document keeps to the contract, and its counts are those of the findings."""

from __future__ import annotations

import json

import pytest
from torch import nn

import bnguard
from bnguard._report.render import render_as

MODEL = {"target", "class", "batch_size", "mode", "inputs", "method", "trace_error", "first_failure", "layers"}
LAYER = {
    "name", "type", "num_features", "training", "affine", "track_running_stats", "momentum", "eps", "verdict",
    "min_batch_size", "source", "calls",
}  # fmt: skip
CALL = {"shape", "values_per_channel", "batch_statistics", "backend"}
FINDING = {"code", "severity", "message", "layer", "location", "fix"}


def document(model: nn.Module, inputs: object = (3, 8, 8), **options: object) -> dict:
    return json.loads(render_as("json", bnguard.scan(model, inputs, **options)))


def test_the_keys_of_the_contract() -> None:
    found = document(nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4)))
    assert (found["schema"], found["command"], found["bnguard"]) == (1, "scan", bnguard.__version__)
    assert found["torch"]
    (model,) = found["models"]
    assert set(model) >= MODEL
    assert model["inputs"] == [{"name": None, "shape": [1, 3, 8, 8], "dtype": "float32", "source": "given"}]
    (layer,) = model["layers"]
    assert set(layer) >= LAYER
    assert (layer["name"], layer["verdict"], layer["min_batch_size"]) == ("1", "fails", 2)
    assert set(layer["calls"][0]) >= CALL
    assert layer["calls"][0]["shape"] == [1, 4, 1, 1]
    assert layer["calls"][0]["values_per_channel"] == 1
    assert all(set(f) >= FINDING for f in found["findings"])


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_summary_counts_the_findings(batch_size: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.BatchNorm2d(4, momentum=0.99))
    found = document(model, batch_size=batch_size)
    for word in ("error", "warning", "note"):
        assert found["summary"][f"{word}s"] == sum(f["severity"] == word for f in found["findings"])


def test_values_that_json_does_not_have_become_null() -> None:
    found = document(nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4, eps=float("nan"))))
    assert found["models"][0]["layers"][0]["eps"] is None


def test_to_dict_is_the_document() -> None:
    report = bnguard.scan(nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4)), (3, 8, 8))
    assert json.loads(render_as("json", report)) == json.loads(json.dumps(report.to_dict()))
