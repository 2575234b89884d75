"""Nothing of the user's process is left changed after a scan of a live model, also after an error."""

from __future__ import annotations

import gc
import random
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import bnguard
from bnguard._untouched import switches


class Busy(nn.Module):
    """A model that does everything a careless trace would leave behind."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.conv = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        self.bn = nn.BatchNorm2d(4)
        self.frozen = nn.BatchNorm2d(4).eval()
        self.steps = 0
        self.maps: list[torch.Tensor] = []
        self.last: torch.Tensor | None = None
        self.mean = torch.zeros(4)
        self.broken = broken

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        x = self.frozen(self.bn(self.normed(self.conv(x))))
        self.maps.append(x)
        self.last = x
        self.mean = self.mean * 0.9 + x.mean((0, 2, 3)) * 0.1
        torch.rand(1), random.random(), np.random.rand()
        if self.broken:
            raise RuntimeError("the user's own error")
        return x.sum()


def snapshot(model: nn.Module) -> dict[str, object]:
    return {
        "modes": {n: m.training for n, m in model.named_modules()},
        "tensors": {
            n: (id(t), t.detach().clone(), t._version) for n, t in [*model.named_parameters(), *model.named_buffers()]
        },
        "grads": {n: p.requires_grad for n, p in model.named_parameters()},
        "hooks": {
            n: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for n, m in model.named_modules()
        },
        "attributes": {
            n: {k: repr(v) for k, v in vars(m).items() if not k.startswith("_")} for n, m in model.named_modules()
        },
        "rng": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()),
        "grad mode": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "gc": gc.isenabled(),
        "filters": list(warnings.filters),
        "stdout": id(sys.stdout),
        "module class": {k: id(v) for k, v in vars(nn.Module).items()},
    }


def assert_unchanged(before: dict[str, object], after: dict[str, object]) -> None:
    for key, value in before.items():
        if key == "tensors":
            for name, (identity, values, version) in value.items():
                now = after[key][name]
                assert (identity, version) == (now[0], now[2]), name
                assert torch.equal(values, now[1]), name
        elif key == "rng":
            assert torch.equal(value[0], after[key][0])
            assert value[1:] == after[key][1:]
        else:
            assert value == after[key], key


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("training", [False, True])
def test_a_live_model_is_left_as_it_was(broken: bool, mode: str, training: bool) -> None:
    model = Busy(broken=broken).train(training)
    model.frozen.train(not training)
    seen: list[object] = []
    model.bn.register_forward_hook(lambda m, i, o: seen.append(o))
    before = snapshot(model)
    report = bnguard.scan(model, (3, 8, 8), mode=mode)
    assert_unchanged(before, snapshot(model))
    assert seen == []
    assert bool(report.models[0].trace_error) == broken
    assert [x.name for x in report.models[0].layers] == ["bn", "frozen"]


def test_gradients_and_grad_mode_survive() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model(torch.randn(3, 4)).sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    with torch.no_grad():
        bnguard.scan(model, (4,))
        assert not torch.is_grad_enabled()
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, model.parameters(), strict=True))


def test_a_real_forward_moves_no_buffer() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn(x) if float(x.sum()) < 1e9 else x

    model = Decides()
    before = snapshot(model)
    fact = bnguard.scan(model, (4,), batch_size=3).models[0]
    assert fact.method == "real"
    assert fact.layers[0].verdict == "thin"
    assert_unchanged(before, snapshot(model))


def test_lazy_layers_stay_lazy() -> None:
    model = nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2), nn.LazyBatchNorm1d()
    )
    fact = bnguard.scan(model, (3, 8, 8)).models[0]
    assert [(x.name, x.type, x.num_features, x.verdict) for x in fact.layers] == [
        ("1", "LazyBatchNorm2d", 4, "single-sample"),
        ("4", "LazyBatchNorm1d", 2, "fails"),
    ]
    assert all(nn.parameter.is_lazy(p) for p in model.parameters())
    assert model[1].has_uninitialized_params()
    assert tuple(model.train()(torch.randn(2, 3, 8, 8)).shape) == (2, 2)


class Handles(nn.Module):
    """Holds a generator, which cannot be copied."""

    def __init__(self, *, used: bool) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(4)
        self.handle = (i for i in range(3))
        self.used = used

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(x + next(self.handle) if self.used else x)


def test_a_model_that_uses_what_cannot_be_copied_is_listed_with_the_reason() -> None:
    model = Handles(used=True)
    fact = bnguard.scan(model, (4,)).models[0]
    assert [(x.name, x.verdict) for x in fact.layers] == [("bn", "unknown")]
    assert "uses a generator, which cannot be copied" in str(fact.trace_error)
    assert list(model.handle) == [0, 1, 2]


def test_what_cannot_be_copied_and_is_not_used_does_not_matter() -> None:
    assert bnguard.scan(Handles(used=False), (4,)).models[0].first_failure == "bn"


def test_a_forward_that_exits_or_switches_torch_is_contained() -> None:
    class Rude(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.backends.cudnn.benchmark = True
            torch.set_default_dtype(torch.float64)
            torch.set_default_device("meta")
            torch.use_deterministic_algorithms(True)
            torch.set_float32_matmul_precision("high")
            raise SystemExit(3)

    before = [ask() for ask, _ in switches()]
    fact = bnguard.scan(Rude(), (4,)).models[0]
    assert "SystemExit" in str(fact.trace_error)
    assert [ask() for ask, _ in switches()] == before
    assert torch.zeros(1).device.type == "cpu"
    assert torch.overrides._get_current_function_mode_stack() == []


def test_a_model_for_which_no_input_can_be_found_stays_in_its_mode():
    model = nn.Sequential(nn.ReLU(), nn.Dropout()).eval()
    assert bnguard.scan(model).models[0].method == "none"
    assert [m.training for m in model.modules()] == [False, False, False]


def test_a_process_group_does_not_stop_the_trace_of_synchronised_layers(tmp_path):
    import torch.distributed as dist

    model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.SyncBatchNorm(4))
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        fact = bnguard.scan(model, (3, 8, 8)).models[0]
        assert (fact.first_failure, fact.trace_error) == ("1", None)
        assert "forward" not in vars(model[1])
    finally:
        dist.destroy_process_group()
