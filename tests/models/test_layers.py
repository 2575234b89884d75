"""Every kind of normalisation layer is found, named and judged as it behaves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import bnguard
from bnguard._facts.models import LayerFact, ModelFact


def scan(model: nn.Module, inputs: tuple[int, ...] = (4,), **options: object) -> ModelFact:
    return bnguard.scan(model, inputs, **options).models[0]


def by_name(fact: ModelFact) -> dict[str, LayerFact]:
    return {x.name: x for x in fact.layers}


def test_every_class_of_torch_is_found() -> None:
    model = nn.ModuleDict(
        {
            "one": nn.BatchNorm1d(4),
            "two": nn.BatchNorm2d(4),
            "three": nn.BatchNorm3d(4),
            "sync": nn.SyncBatchNorm(4),
            "lazy": nn.LazyBatchNorm1d(),
            "instance": nn.InstanceNorm2d(4),
            "group": nn.GroupNorm(2, 4),
            "layer": nn.LayerNorm(4),
            "linear": nn.Linear(4, 4),
        }
    )
    fact = scan(model)  # a ModuleDict has no forward
    assert [x.name for x in fact.layers] == ["one", "two", "three", "sync", "lazy", "instance", "group"]
    assert {x.verdict for x in fact.layers} == {"unknown"}
    assert "forward" in str(fact.layers[0].reason)


def test_a_shared_instance_is_one_fact_with_two_names() -> None:
    norm = nn.BatchNorm1d(4)
    fact = scan(nn.Sequential(nn.Linear(4, 4), norm, nn.ReLU(), norm))
    (layer,) = fact.layers
    assert (layer.name, layer.aliases, len(layer.calls)) == ("1", ("3",), 2)


class CallsFunctional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.var = nn.Buffer(torch.zeros(4)), nn.Buffer(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.mean, self.var, training=self.training)


def test_a_functional_call_is_a_layer_under_its_module() -> None:
    fact = scan(nn.Sequential(nn.Linear(4, 4), CallsFunctional()))
    (layer,) = fact.layers
    assert (layer.name, layer.type, layer.verdict, layer.num_features) == ("1", "functional", "fails", 4)
    assert fact.first_failure == "1"
    assert scan(nn.Sequential(nn.Linear(4, 4), CallsFunctional()), mode="eval").layers[0].verdict == "frozen"


def test_a_functional_call_in_the_root_itself() -> None:
    assert scan(CallsFunctional()).layers[0].name == ""
    assert scan(CallsFunctional()).first_failure == ""


class FusedActivation(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(super().forward(x), 0.01)


class OwnForward(nn.BatchNorm2d):
    """As timm's: calls F.batch_norm with its own buffers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training, 0.1))


@pytest.mark.parametrize("kind", [FusedActivation, OwnForward])
def test_subclasses_keep_their_name(kind: type[nn.BatchNorm2d]) -> None:
    (layer,) = scan(nn.Sequential(nn.Conv2d(3, 4, 3), kind(4)), (3, 3, 3)).layers
    assert (layer.type, layer.kind, layer.verdict, layer.min_batch_size) == (kind.__name__, "batch", "fails", 2)


class FromScratch(nn.Module):
    def __init__(self, features: int, *, strict: bool = False) -> None:
        super().__init__()
        self.gamma, self.strict = nn.Parameter(torch.ones(features)), strict
        self.moving_mean, self.moving_var = torch.zeros(features), torch.ones(features)  # plain attributes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self.gamma * (x - self.moving_mean) / (self.moving_var + 1e-5).sqrt()
        if self.strict and len(x) == 1:
            raise ValueError("I want more than one sample")
        mean, var = x.mean(0), x.var(0, unbiased=False)
        self.moving_mean = 0.9 * self.moving_mean + 0.1 * mean
        self.moving_var = 0.9 * self.moving_var + 0.1 * var
        return self.gamma * (x - mean) / (var + 1e-5).sqrt()


def test_a_hand_written_layer_is_judged_by_what_it_does() -> None:
    (layer,) = scan(nn.Sequential(nn.Linear(4, 4), FromScratch(4))).layers
    assert (layer.kind, layer.type, layer.verdict) == ("hand-written", "FromScratch", "single-sample")
    assert layer.num_features == 4
    (frozen,) = scan(nn.Sequential(nn.Linear(4, 4), FromScratch(4)), mode="eval").layers
    assert frozen.verdict == "frozen"


def test_a_hand_written_layer_that_refuses_one_sample_fails() -> None:
    fact = scan(nn.Sequential(nn.Linear(4, 4), FromScratch(4, strict=True)))
    with pytest.raises(ValueError, match="more than one"):
        nn.Sequential(nn.Linear(4, 4), FromScratch(4, strict=True))(torch.zeros(1, 4))
    assert (fact.layers[0].verdict, fact.first_failure) == ("fails", "1")


def test_frozen_look_alikes_are_frozen() -> None:
    model = torchvision.models.resnet18(weights=None, norm_layer=torchvision.ops.FrozenBatchNorm2d)
    fact = scan(model, (3, 32, 32))
    assert len(fact.layers) == 20
    assert {(x.type, x.verdict) for x in fact.layers} == {("FrozenBatchNorm2d", "frozen")}


def test_layers_left_in_eval_by_an_overridden_train_stay_frozen() -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True):
            super().train(mode)
            self[1].eval()
            return self

    fact = scan(Frozen(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)))
    assert [x.verdict for x in fact.layers] == ["frozen", "fails"]
    assert fact.first_failure == "2"


def test_no_running_statistics_fail_in_eval_too() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False))
    assert scan(model, mode="eval").first_failure == "1"
    with pytest.raises(ValueError, match="more than 1"):
        model.eval()(torch.zeros(1, 4))


@pytest.mark.parametrize("wrapper", ["DataParallel", "compile"])
def test_wrappers_add_no_name(wrapper: str) -> None:
    inner = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model = nn.DataParallel(inner) if wrapper == "DataParallel" else torch.compile(inner)
    assert scan(model).first_failure == "1"
    outer = nn.Sequential(model, nn.BatchNorm1d(4))
    fact = scan(outer)
    assert (fact.first_failure, [x.name for x in fact.layers]) == ("0.1", ["0.1", "1"])
    assert outer[0] is model


def test_a_layer_that_the_forward_passes_by_is_not_reached() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    assert {x.name: x.verdict for x in scan(Skips(), batch_size=32).layers} == {"used": "ok", "unused": "not-reached"}


def test_the_first_failure_is_first_in_execution_not_in_definition() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(self.b(x))

    assert scan(Backwards()).first_failure == "b"


def test_pyg_layers_inside_their_wrappers() -> None:
    pyg = pytest.importorskip("torch_geometric.nn")

    class Graph(nn.Module):
        def __init__(self, *, allow: bool) -> None:
            super().__init__()
            self.norm = pyg.BatchNorm(4, allow_single_element=allow)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x)

    assert scan(Graph(allow=False)).first_failure == "norm.module"
    allowed = scan(Graph(allow=True))
    assert (allowed.first_failure, allowed.layers[0].name, allowed.layers[0].verdict) == (None, "norm.module", "frozen")
    with torch.no_grad():
        Graph(allow=True)(torch.zeros(1, 4))


def test_the_backend_that_pytorch_would_choose_on_a_gpu() -> None:
    from bnguard import _private_torch as private

    if not private.is_cuda_build():
        pytest.skip("this torch was built without CUDA: it cannot be asked")
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Flatten(),
        nn.BatchNorm1d(144),
    )
    assert [x.calls[0].backend for x in scan(model, (3, 8, 8)).layers] == ["cudnn", "native", "cudnn", "native"]
    assert {x.calls[0].backend for x in scan(model, (3, 8, 8), device="cpu").layers} == {"native"}


def test_without_the_private_function_the_backend_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    from bnguard import _private_torch as private

    monkeypatch.setattr(private, "_backend_selector", lambda: None)
    private._ask_backend.cache_clear()
    fact = scan(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (3, 8, 8))
    private._ask_backend.cache_clear()
    assert (fact.layers[0].calls[0].backend, fact.layers[0].verdict) == (None, "single-sample")


def test_mixed_devices_are_followed_with_fake_tensors_and_without_them_really(monkeypatch: pytest.MonkeyPatch) -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn(x + torch.arange(4.0).repeat(len(x), 1))  # made on the CPU, whatever x is on

    assert (scan(Positions()).method, scan(Positions()).first_failure) == ("fake", "bn")
    from bnguard import _private_torch as private

    monkeypatch.setattr(private, "fake_tensor_types", lambda: None)
    assert (scan(Positions()).method, scan(Positions()).first_failure) == ("real", "bn")


def test_wrong_channel_count_is_told_in_torchs_words() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(5))
    fact = scan(model, (3, 8, 8))
    with pytest.raises(RuntimeError) as real:
        model(torch.zeros(2, 3, 8, 8))
    assert str(real.value) in str(fact.trace_error)
    assert fact.layers[0].verdict == "unknown"


def test_torchscript_layers_are_listed() -> None:
    fact = scan(torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))))
    assert [(x.name, x.type) for x in fact.layers] == [("1", "BatchNorm1d")]
    assert fact.layers[0].verdict in ("fails", "unknown")
