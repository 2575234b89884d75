"""The heart of it: on random networks the scan says what a real forward does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from accuracy import real_answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import bnguard
from bnguard._models.inputs import SpecInputs, TensorSpec


class Functional(nn.Module):
    """Calls F.batch_norm by itself, as some repositories do."""

    def __init__(self, channels: int, *, tracked: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels) if tracked else None)
        self.register_buffer("var", torch.ones(channels) if tracked else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.mean, self.var, training=self.training or self.mean is None)


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


class Squeeze(nn.Module):
    """Squeeze and excitation with BatchNorm behind the global pool."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.excite = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.excite(F.adaptive_avg_pool2d(x, 1))


def norms(channels: int) -> st.SearchStrategy[nn.Module]:
    makers = [
        lambda: nn.BatchNorm2d(channels),
        lambda: nn.BatchNorm2d(channels),
        lambda: nn.BatchNorm2d(channels, affine=False),
        lambda: nn.BatchNorm2d(channels, track_running_stats=False),
        lambda: nn.BatchNorm2d(channels).eval(),
        lambda: nn.SyncBatchNorm(channels),
        lambda: nn.GroupNorm(2, channels),
        lambda: nn.GroupNorm(channels, channels),
        lambda: nn.InstanceNorm2d(channels),
        lambda: nn.InstanceNorm2d(channels, track_running_stats=True),
        lambda: Functional(channels, tracked=True),
        lambda: Functional(channels, tracked=False),
        lambda: nn.Identity(),
    ]
    return st.sampled_from(makers).map(lambda make: make())


@st.composite
def networks(draw: st.DrawFn) -> nn.Sequential:
    channels = draw(st.sampled_from([3, 4]))
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 5))):
        width = draw(st.sampled_from([4, 6]))
        stride = draw(st.sampled_from([1, 2, 3]))
        layers += [nn.Conv2d(channels, width, 3, stride, 1), draw(norms(width)), nn.ReLU(inplace=draw(st.booleans()))]
        channels = width
        if draw(st.booleans()):
            layers.append(Residual(nn.Sequential(nn.Conv2d(channels, channels, 1), draw(norms(channels)))))
        if draw(st.booleans()):
            layers.append(Squeeze(channels))
        if draw(st.booleans()):
            layers.append(nn.MaxPool2d(2, ceil_mode=draw(st.booleans())))
    layers.append(nn.AdaptiveAvgPool2d(draw(st.sampled_from([1, 2]))))
    layers += [nn.Flatten(), nn.LazyLinear(8)]
    layers.append(draw(st.sampled_from([nn.Identity, lambda: nn.BatchNorm1d(8), nn.LazyBatchNorm1d]))())
    return nn.Sequential(*layers)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks(), size=st.integers(1, 40), batch=st.integers(1, 3), seed=st.integers(0, 9))
def test_the_scan_says_what_a_real_forward_does(net: nn.Sequential, size: int, batch: int, seed: int) -> None:
    torch.manual_seed(seed)
    spec = SpecInputs((TensorSpec((net[0].in_channels, size, size)),), "given")
    for mode in ("train", "eval"):
        fact = bnguard.scan(net, spec, batch_size=batch, mode=mode).models[0]
        real = real_answer(net, spec, batch_size=batch, mode=mode, lazy_copy=True)
        expected = fact.first_failure or ("error" if fact.trace_error else "ok")
        assert real.split(":")[0] == expected, (real, fact.trace_error, [(x.name, x.verdict) for x in fact.layers])
        if real == "ok":
            assert fact.method == "meta"


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks(), size=st.integers(8, 40))
def test_min_batch_size_is_where_the_real_layer_begins_to_hold(net: nn.Sequential, size: int) -> None:
    spec = SpecInputs((TensorSpec((net[0].in_channels, size, size)),), "given")
    fact = bnguard.scan(net, spec).models[0]
    if fact.first_failure is None:
        return
    layer = next(x for x in fact.failing if x.name == fact.first_failure)
    for batch in range(1, 5):
        real = real_answer(net, spec, batch_size=batch, mode="train", lazy_copy=True)
        holds = layer.min_batch_size is not None and batch >= layer.min_batch_size
        assert (real != layer.name) == holds, (batch, real, layer)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "googlenet", "densenet121"])
@pytest.mark.parametrize("size", [32, 64])
def test_torchvision_models(name: str, size: int) -> None:
    from accuracy import compare

    row = compare("classification", name, (3, size, size))
    assert row.agrees, row


def test_the_figures_of_the_readme() -> None:
    clean = bnguard.scan("torchvision.models:resnet18", (3, 224, 224)).models[0]
    assert (len(clean.layers), len(clean.failing), clean.first_failure) == (20, 0, None)
    small = bnguard.scan("torchvision.models:resnet18", (3, 32, 32)).models[0]
    assert (len(small.failing), small.first_failure) == (5, "layer4.0.bn1")
    target = "torchvision.models.segmentation:deeplabv3_resnet50(weights=None,weights_backbone=None)"
    assert bnguard.scan(target).models[0].first_failure == "classifier.0.convs.4.2"
