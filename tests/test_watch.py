"""Single-sample batches that pass silently are counted (RT105)."""

from __future__ import annotations

import warnings

import pytest
import torch
from diagnose import models
from torch import nn

import bnguard


def watched(model: nn.Module, batches: list[torch.Tensor]):
    with bnguard.guard(model, watch=True) as guard:
        for x in batches:
            model(x)
    return guard.watch


def test_what_passed_where_and_how_often(capsys: pytest.CaptureFixture[str]) -> None:
    model = models.Conv()
    watch = watched(model, [torch.randn(n, 3, 8, 8) for n in (4, 4, 1, 4, 1)])
    assert [(p.name, p.first_step, p.times) for p in watch.passed.values()] == [("bn1", 3, 2), ("bn2", 3, 2)]
    assert [f.code for f in watch.findings] == ["RT105", "RT105"]
    assert watch.findings[0].location is not None
    assert "bn1 normalised a batch of one sample in training mode 2 times, first in step 3" in watch.findings[0].message
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "RT105 2 single-sample batches in training mode passed 2 BatchNorm layers, first in step 3 of 5" in shown


@pytest.mark.parametrize("sizes", [[4, 2], []])
def test_silence_where_there_is_nothing(sizes: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    watch = watched(models.Conv(), [torch.randn(n, 3, 8, 8) for n in sizes])
    assert watch.findings == ()
    assert capsys.readouterr().err == ""


def test_eval_mode_does_not_count() -> None:
    assert watched(models.Conv().eval(), [torch.randn(1, 3, 8, 8)]).findings == ()


def test_a_frozen_layer_does_not_count() -> None:
    model = models.Conv()
    model.bn1.eval()
    assert list(watched(model, [torch.randn(1, 3, 8, 8)]).passed) == ["bn2"]


def test_a_batch_that_raises_is_not_silent() -> None:
    model = models.Deep()
    with pytest.raises(ValueError, match="Expected"), bnguard.guard(model, watch=True) as guard:
        model(torch.randn(1, 4))
    assert guard.watch.passed == {}


def test_without_running_statistics_too() -> None:
    model = models.Conv(nn.BatchNorm2d(4, track_running_stats=False))
    assert list(watched(model, [torch.randn(1, 3, 8, 8)]).passed) == ["bn1", "bn2"]


@pytest.mark.parametrize("inner", [True, False], ids=["the model", "its wrapper"])
def test_a_compiled_model_is_left_alone(inner: bool) -> None:
    """No graph breaks, no step compiles anew; what runs in the graph is not seen."""
    model = models.Conv()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch._dynamo.utils.counters.clear()
    filters = list(warnings.filters)
    with warnings.catch_warnings(), bnguard.guard(model if inner else compiled, watch=True):
        warnings.filterwarnings("error", "Using `torch.compile", append=True)
        for n in (4, 4, 4, 4, 1, 1, 1):
            compiled(torch.randn(n, 3, 8, 8))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
    assert warnings.filters == filters
    torch._dynamo.reset()
