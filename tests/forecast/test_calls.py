"""Recorded calls: several a step, loaders without a call, flags left as they are."""

from __future__ import annotations

import pytest
import torch
from forecast import nets
from torch import nn
from torch.utils.data import DataLoader

import bnguard
from bnguard._audit_loader.plan import Setup
from bnguard._forecast import forecast_calls
from bnguard._models.inputs import ExampleInputs, SpecInputs, TensorSpec, resize_batch

IMAGE = SpecInputs((TensorSpec((3, 8, 8)),), "given")


def loader(n: int = 9, size: int = 8) -> DataLoader:
    return DataLoader(range(n), size)  # never fetched


def test_the_flags_stay_as_they_are():
    net = nets.cnn()
    net[5].eval()
    assert forecast_calls(net, {"train": loader()}, {"train": IMAGE}).forecasts[0].stops is False
    net.eval()
    net[5].train()
    report = forecast_calls(net, {"train": loader(), "val": loader()}, {"train": IMAGE, "val": IMAGE})
    assert [(f.step, f.layer, f.called) for f in report.forecasts] == [(2, "5", None)] * 2
    assert [m.training for m in net.modules()][:3] == [False, False, False]
    modes = {"val": "eval", "train": "train"}
    report = forecast_calls(net, {"val": loader(), "train": loader()}, {"train": IMAGE, "val": IMAGE}, modes=modes)
    assert [(f.mode, f.stops) for f in report.forecasts] == [("eval", False), ("train", True)]


def test_flags_come_back_between_loaders():
    """A loader whose flags are left comes after one in training mode: the frozen layer is frozen again."""
    net = nets.cnn()
    net[5].eval()
    loaders = {"a": loader(), "b": loader(), "c": loader()}
    report = forecast_calls(net, loaders, dict.fromkeys(loaders, IMAGE), modes={"a": "train", "c": "eval"})
    assert [f.stops for f in report.forecasts] == [True, False, False]


def test_the_first_call_of_a_step_that_fails_counts():
    class Twice(nn.Module):
        """A network that normalises only where it is told to."""

        def __init__(self) -> None:
            super().__init__()
            self.real, self.false = nets.cnn(), nets.cnn()

        def forward(self, x, *, real: bool):
            return (self.real if real else self.false)(x)

    def call(real: bool) -> ExampleInputs:
        x = torch.zeros(8, 3, 8, 8)
        return ExampleInputs(lambda n: ((resize_batch(x, n),), {"real": real}), "given")

    net = Twice()
    report = forecast_calls(net, {"train": loader()}, {"train": [call(False), call(True)]}, name="D")
    assert (report.forecasts[0].model, report.forecasts[0].layer) == ("D", "false.5")
    assert report.models[0].first_failure == "false.5"
    net.false[5].eval()
    report = forecast_calls(net, {"train": loader()}, {"train": [call(False), call(True)]})
    assert (report.forecasts[0].layer, report.models[0].first_failure) == ("real.5", "real.5")


def test_a_loader_nobody_has_called_with_is_not_known():
    report = forecast_calls(nets.cnn(), {"train": loader(), "test": loader()}, {"train": IMAGE}, command="preflight")
    assert [f.stops for f in report.forecasts] == [True, None]
    assert "not recorded" in report.forecasts[1].unknown
    assert report.to_dict()["command"] == "preflight"
    assert [f["loader"] for f in report.to_dict()["forecasts"]] == ["train", "test"]


def test_the_setup_is_that_of_the_run():
    report = forecast_calls(nets.cnn(), {"train": loader(16, 16)}, {"train": IMAGE}, setup=Setup(1, replicas=3))
    assert report.forecasts[0].stops is False  # 6, 6, 4
    report = forecast_calls(nets.cnn(), {"train": loader(13, 16)}, {"train": IMAGE}, setup=Setup(1, replicas=4))
    assert report.forecasts[0].replica == 3  # 4, 4, 4, 1
    with pytest.raises(bnguard.BnguardError, match="tpu"):
        forecast_calls(nets.cnn(), {}, {}, device="tpu")
