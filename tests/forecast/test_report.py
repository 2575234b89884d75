"""The report of a forecast: what it is called by, what it holds, and that it says nothing twice."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from forecast import nets
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnguard
from bnguard._facts.findings import Severity
from bnguard._report.render import render_as

ROOT = Path(__file__).parents[2]
CONTRACT = {"model", "loader", "epoch", "step", "steps", "batch_size", "rank", "layer", "error"}


def loader(n: int = 9, size: int = 8) -> DataLoader:
    return DataLoader(TensorDataset(torch.randn(n, 3, 8, 8)), size)


@pytest.mark.parametrize(
    "order",
    [
        "import bnguard",
        "import bnguard, bnguard._forecast",
        "import bnguard._forecast.request, bnguard",
        "import bnguard._facts.forecasts, bnguard._forecast.request, bnguard._rules.single_sample, bnguard",
        "import bnguard; bnguard.scan; bnguard.audit_loader; import bnguard._report.formats.console.forecasts",
        "from bnguard import forecast; import bnguard",
    ],
)
def test_forecast_is_a_function_whatever_was_imported_first(order: str):
    script = f"{order}; assert bnguard.forecast.__name__ == 'forecast' and callable(bnguard.forecast)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_the_document():
    document = json.loads(render_as("json", bnguard.forecast(nets.cnn(), {"train": loader(), "val": loader()})))
    assert (document["command"], document["schema"]) == ("forecast", 1)
    train, val = document["forecasts"]
    assert set(train) >= CONTRACT
    assert {k: train[k] for k in CONTRACT} == {
        "model": "Sequential", "loader": "train", "epoch": 1, "step": 2, "steps": 2, "batch_size": 1, "rank": 0,
        "layer": "5", "error": "ValueError",
    }  # fmt: skip
    assert (train["shape"], [s["batch_size"] for s in train["sizes"]]) == ([1, 4], [8, 1])
    assert (val["stops"], val["mode"], val["step"], val["layer"]) == (False, "eval", None, None)
    assert [m["batch_size"] for m in document["models"]] == [1, 1]
    assert [x["name"] for x in document["loaders"]] == ["train", "val"]


def test_nothing_is_said_twice():
    report = bnguard.forecast(nets.cnn(), {"train": loader(), "val": loader()})
    assert [(f.code, f.severity, f.layer) for f in report.findings] == [
        ("DL101", Severity.ERROR, "5"),
        ("DL102", Severity.NOTE, None),
    ]
    assert not report.ok
    assert "step 2 of 2 holds 1 sample" in report.findings[0].message
    assert "and 5 (BatchNorm1d(4)) sees one value per channel there: training stops" in report.findings[0].message
    squeezes = bnguard.forecast(nets.Squeezes(), loader())
    assert squeezes.findings[0].location == squeezes.forecasts[0].at.source
    assert squeezes.findings[0].location.file.endswith("nets.py")
    assert "flatten(1)" in squeezes.findings[0].fix
    assert {way.loader for way in report.suggestions} == {"train"}


def test_a_model_that_holds_turns_the_error_into_a_note():
    report = bnguard.forecast(nets.spatial(), loader())
    assert [(f.code, f.severity) for f in report.findings] == [("DL101", Severity.NOTE)]
    assert "1 layer takes mean and variance from that one sample (BN102)" in report.findings[0].message
    assert report.ok
    assert report.suggestions == ()


def test_what_else_is_wrong_with_the_model_is_still_said():
    net = nets.cnn(nn.BatchNorm1d(4, momentum=0.99))
    assert [f.code for f in bnguard.forecast(net, loader()).findings] == ["DL101", "BN201"]
    kept = nets.cnn(nn.BatchNorm1d(4, track_running_stats=False))
    report = bnguard.forecast(kept, loader(), mode="eval")
    assert (report.findings[0].code, report.findings[0].severity) == ("DL102", Severity.ERROR)
    assert [f.code for f in report.findings if f.layer == "5"] == ["DL102"]  # BN101 and BN104 would say it again
    assert "evaluation stops" in report.findings[0].message
    assert "track_running_stats=True" in report.findings[0].fix


def test_ways_out_are_offered_only_where_they_help():
    report = bnguard.forecast(nets.Halves(), loader(11))  # 8 + 3: the halves of 3 are 2 and 1
    assert (report.forecasts[0].step, report.forecasts[0].batch_size) == (2, 3)
    assert [f.code for f in report.findings if f.severity is Severity.ERROR] == ["BN101"]
    nine = bnguard.forecast(nets.Halves(), loader(9))  # batches of two would fail as the one of one does
    assert (nine.forecasts[0].step, nine.forecasts[0].batch_size, nine.suggestions) == (2, 1, ())
    assert bnguard.audit_loader(loader(9)).suggestions


def test_an_earlier_stop_leaves_the_lone_sample_a_note():
    norm = nn.Sequential(nn.Unflatten(1, (4, 1)), nn.InstanceNorm1d(4), nn.Flatten())
    report = bnguard.forecast(nets.cnn(norm), loader())
    assert (report.forecasts[0].step, report.forecasts[0].layer) == (1, "5.1")
    assert [(f.code, f.severity) for f in report.findings if f.code[:2] == "DL"] == [("DL101", Severity.NOTE)]
    assert "the epoch stops at step 1" in report.findings[0].message
    assert "BN205" in [f.code for f in report.findings if f.severity is Severity.ERROR]


def test_targets(tmp_path: Path):
    script = tmp_path / "train.py"
    script.write_text(
        "import torch\nfrom torch import nn\nfrom torch.utils.data import DataLoader, TensorDataset\n"
        "class Net(nn.Module):\n    def __init__(self, width=4):\n        super().__init__()\n"
        "        self.fc = nn.Linear(6, width)\n        self.bn = nn.BatchNorm1d(width)\n"
        "    def forward(self, x):\n        return self.bn(self.fc(x))\n"
        "def make_loaders():\n    data = TensorDataset(torch.randn(9, 6))\n"
        "    return {'train': DataLoader(data, 8), 'test': DataLoader(data, 4)}\n",
        encoding="utf-8",
    )
    report = bnguard.forecast(f"{script}:Net", f"{script}:make_loaders()", settings={"width": 5})
    train, test = report.forecasts
    assert (train.model, train.step, train.layer, train.shape) == (f"{script}:Net", 2, "bn", (1, 5))
    assert (test.mode, test.stops) == ("eval", False)
    assert report.findings[0].location.line == 8
    mixed = bnguard.forecast([f"{script}:Net", nets.spatial()], {"n": 9, "batch_size": 8}, names=["train"])
    assert [f.stops for f in mixed.forecasts] == [True, False]


def test_no_batch_is_no_stop_and_an_error_of_the_loader():
    report = bnguard.forecast(nets.cnn(), DataLoader(range(5), 8, drop_last=True))
    assert (report.forecasts[0].stops, report.forecasts[0].steps) == (False, 0)
    assert [f.code for f in report.findings] == ["DL105"]


def test_what_rests_on_a_guessed_input_says_so_and_promises_nothing_that_a_smaller_one_breaks():
    numbers = {"n": 9, "batch_size": 8}
    sure, unsure = bnguard.forecast([nets.spatial(), torchvision.models.resnet18()], numbers).forecasts
    assert (sure.stops, sure.ground, sure.assumption) == (False, "assumed", "input 3×8×8")
    assert (unsure.stops, unsure.ground, unsure.assumption) == (None, "assumed", "input 3×224×224")
    assert "does not stop with the assumed input 3×224×224" in (unsure.unknown or "")
    assert "stops at layer4.0.bn1 with 3×28×28, at batch size 1" in (unsure.unknown or "")
    given = bnguard.forecast(torchvision.models.resnet18(), numbers, inputs=(3, 224, 224))
    assert (given.forecasts[0].stops, given.forecasts[0].ground, given.ok) == (False, "shapes", True)


def test_not_known_of_a_training_loader_is_not_ok():
    report = bnguard.forecast(torchvision.models.resnet18(), {"n": 9, "batch_size": 8})
    assert not report.ok
    (finding,) = (f for f in report.findings if f.code == "DL101")
    assert (finding.severity, finding.consequence) == (Severity.WARNING, None)
    excused = dataclasses.replace(report.forecasts[0], allow_unknown=True)
    assert dataclasses.replace(report, forecasts=[excused]).ok


def test_dataparallel_without_devices_is_taken_to_find_one():
    model, images = nn.DataParallel(nets.spatial()), {"n": 16, "batch_size": 8}
    (fact,) = bnguard.forecast(model, images, (3, 8, 8)).forecasts
    assert (fact.stops, fact.ground) == (False, "assumed")
    assert fact.assumption == "one device for DataParallel, as replicas= does not say how many"
    assert bnguard.forecast(model, images, (3, 8, 8), replicas=2).forecasts[0].ground == "shapes"
    (both,) = bnguard.forecast(model, images).forecasts
    assert both.assumption == f"input 3×8×8 and {fact.assumption}"
