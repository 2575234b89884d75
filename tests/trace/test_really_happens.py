"""What a trace has to get right beside shapes, against the real call: hooks, gradients, catches, draws, rows."""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

import bnguard


class Net(nn.Module):
    """A linear layer, a BatchNorm, and what a case adds."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.fc(x))


def raises(model: nn.Module, *shape: int) -> bool:
    """Whether a real training call of a copy raises the error of BatchNorm."""
    try:
        copy.deepcopy(model).train()(torch.randn(shape))
    except ValueError as error:
        return "Expected more than 1 value" in str(error)
    return False


def first(model: nn.Module, shape: tuple[int, ...] = (4,), **options: object) -> str | None:
    fact = bnguard.scan(model, shape, **options).models[0]
    assert fact.trace_error is None
    return fact.first_failure


# ------------------------------------------------------------------------------------------- what deepcopy refuses


class Caches(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.feat = F.relu(self.fc(x))
        self.all = [self.feat, {"feat": self.feat}]
        self.kl = getattr(self, "kl", 0) + self.feat.mean()
        return self.bn(self.feat)


class Recurs(Net):
    h: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.h = torch.tanh(self.fc(x) + (0 if self.h is None else self.h.detach().mean(0)))
        return self.bn(self.h)


def with_weight(change: Callable[[nn.Module], object]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = Net()
        change(model.fc)
        return model

    return build


def holding(value: Callable[[], object]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = Net()
        model.held = value()
        return model

    return build


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "build",
    [
        Caches,
        Recurs,
        with_weight(nn.utils.weight_norm),
        with_weight(nn.utils.spectral_norm),
        with_weight(nn.utils.parametrizations.spectral_norm),
        with_weight(lambda m: prune.l1_unstructured(m, "weight", 0.5)),
        holding(threading.Lock),
        holding(threading.RLock),
        holding(torch.Generator),
        holding(lambda: (i for i in range(3))),
        holding(lambda: Path(__file__).open()),  # noqa: SIM115 - left open, as loggers do
    ],
)
def test_models_that_deepcopy_refuses_after_a_step(build: Callable[[], nn.Module]) -> None:
    model = build()
    model.train()(torch.randn(3, 4)).sum().backward()
    before = {n: b.clone() for n, b in model.named_buffers()}
    assert first(model) == "bn"
    assert first(model, batch_size=2) is None
    assert first(model, mode="eval") is None
    assert all(torch.equal(before[n], b) for n, b in model.named_buffers())
    loader = DataLoader(TensorDataset(torch.randn(9, 4)), 4)
    assert bnguard.forecast(model, loader).forecasts[0].step == 3
    model.train()(torch.randn(3, 4)).sum().backward()  # it still trains


# ---------------------------------------------------------------------------------------- hooks and replaced methods


class Keeps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.bn, self.f = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.BatchNorm1d(4), {}
        self.body[1].register_forward_hook(lambda m, i, o: self.f.__setitem__("h", o))

    def forward(self, x: Tensor) -> Tensor:
        self.body(x)
        return self.bn(self.f["h"])


class Closes(Net):
    def __init__(self) -> None:
        super().__init__()
        self.f = lambda x: self.fc(self.bn(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


class Replaces(Net):
    def __init__(self) -> None:
        super().__init__()
        old = self.fc.forward
        self.fc.forward = lambda x: self.bn(old(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


SEEN: dict[str, Tensor] = {}


class Tells(Net):
    """A hook writes to a dict of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.fc.register_forward_hook(lambda m, i, o: SEEN.__setitem__("h", o))

    def forward(self, x: Tensor) -> Tensor:
        self.fc(x)
        return self.bn(SEEN["h"])


@pytest.mark.parametrize("build", [Keeps, Closes, Replaces, Tells])
def test_hooks_and_closures_act_on_the_copy(build: Callable[[], nn.Module]) -> None:
    model = build()
    assert first(model) == "bn"
    assert model.bn.num_batches_tracked == 0
    assert getattr(model, "f", {}) == {} or callable(model.f)
    assert not SEEN


def test_a_hook_that_changes_the_output_counts() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    model[0].register_forward_hook(lambda m, i, o: F.adaptive_avg_pool2d(o, 1))
    assert first(model, (4, 8, 8)) == "1"


def test_a_forward_that_reaches_the_live_model_is_not_known() -> None:
    class Reaches(Net):
        def forward(self, x: Tensor) -> Tensor:
            return reached[0](x)

    model = Reaches()
    reached = [model.bn]
    fact = bnguard.scan(model, (4,)).models[0]
    assert "reaches the live model" in str(fact.trace_error)
    assert model.bn.num_batches_tracked == 0


# ------------------------------------------------------------------------------------------------------- gradients


class Branches(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if torch.is_grad_enabled() else x


class Asks(Net):
    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        return self.bn(h) if h.requires_grad else h


class Differentiates(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = x.requires_grad_()
        (g,) = torch.autograd.grad(torch.tanh(self.fc(x)).sum(), x, create_graph=True)
        return self.bn(g)


class Watches(Net):
    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        h.register_hook(lambda g: g)
        return self.bn(h)


class Normalised(Net):
    """Asks behind a layer whose own call is passed over."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn(x)
        return F.batch_norm(h, None, None, training=True) if h.requires_grad and len(x) == 1 else h


@pytest.mark.parametrize("build", [Branches, Asks, Differentiates, Watches, Normalised])
def test_gradients_are_recorded_as_in_training(build: Callable[[], nn.Module]) -> None:
    model = build()
    assert raises(model, 1, 4)
    assert first(model) == "bn"
    assert first(model, batch_size=2) is None


def test_evaluation_is_traced_without_gradients() -> None:
    assert bnguard.scan(Branches(), (4,), mode="eval").models[0].layers[0].verdict == "not-reached"


# ------------------------------------------------------------------------------------------------- caught errors


class Catches(Net):
    def forward(self, x: Tensor) -> Tensor:
        try:
            return super().forward(x)
        except ValueError:
            return self.fc(x)


class CatchesAndFails(Net):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return super().forward(x)
        except ValueError:
            return self.other(x)


class Rewords(Net):
    def forward(self, x: Tensor) -> Tensor:
        try:
            return super().forward(x)
        except ValueError as error:
            raise RuntimeError("a batch of one") from error


def test_an_error_that_the_model_catches_stops_nothing() -> None:
    assert not raises(Catches(), 1, 4)
    fact = bnguard.scan(Catches(), (4,)).models[0]
    assert (fact.first_failure, fact.trace_error) == (None, None)
    assert any("catches the error" in note for note in fact.notes)
    loader = DataLoader(TensorDataset(torch.randn(9, 4)), 4)
    assert bnguard.forecast(Catches(), loader).forecasts[0].stops is False


def test_what_the_model_does_then_counts() -> None:
    assert raises(CatchesAndFails(), 1, 4)
    assert first(CatchesAndFails()) == "other"
    assert first(Rewords()) == "bn"


def test_layers_behind_a_failing_one_are_listed_as_before() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4))
    assert [x.verdict for x in bnguard.scan(model, (4,)).models[0].layers] == ["fails", "fails"]


# -------------------------------------------------------------------------------------------------- random draws


class Drops(Net):
    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training and self.draw() < 0.5 else self.bn(x)


@pytest.mark.parametrize("draw", [random.random, lambda: np.random.rand(), lambda: torch.rand(()).item()])
def test_a_layer_that_a_draw_leaves_out_is_not_known(draw: Callable[[], float]) -> None:
    for seed in range(4):
        random.seed(seed)
        before = random.getstate()
        fact = bnguard.scan(Drops(draw), (4,)).models[0]
        assert random.getstate() == before
        assert (fact.first_failure, fact.layers[0].verdict) == (None, "unknown")
        assert "of 8 draws" in str(fact.layers[0].reason)
    loader = DataLoader(TensorDataset(torch.randn(9, 4)), 4)
    assert bnguard.forecast(Drops(draw), loader).forecasts[0].stops is None


def test_draws_that_change_nothing_are_no_reason_to_doubt() -> None:
    class Noise(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * (1 + random.random()))

    assert first(Noise()) == "bn"


# ------------------------------------------------------------------------------------------------ rows of the data


def rows(choose: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    class Chooses(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.bn(choose(x))

    return Chooses


@pytest.mark.parametrize(
    "choose",
    [
        lambda x: x[x[:, 0] > -9],
        lambda x: x[(x[:, 0] > -9).nonzero().squeeze(1)],
        lambda x: x.index_select(0, torch.where(x[:, 0] > -9)[0]),
        lambda x: torch.masked_select(x, x[:, :1] > -9).view(-1, 4),
        lambda x: torch.unique(x, dim=0),
        lambda x: x.repeat_interleave((x[:, 0] > -9).long(), 0),
        lambda x: x[: int((x[:, 0] > -9).sum())],
    ],
)
def test_rows_that_the_data_choose(choose: Callable[[Tensor], Tensor]) -> None:
    model = rows(choose)()
    for size in (2, 8):
        fact = bnguard.scan(model, (4,), batch_size=size).models[0]
        assert [x.verdict for x in fact.layers] == ["data-dependent"]
        assert fact.first_failure is None
    assert bnguard.scan(model, (4,), batch_size=8, mode="eval").models[0].layers[0].verdict == "frozen"
    loader = DataLoader(TensorDataset(torch.randn(8, 4)), 4)
    forecast = bnguard.forecast(model, loader).forecasts[0]
    assert forecast.stops is None
    assert "the data choose" in str(forecast.unknown)


@pytest.mark.parametrize(
    "choose",
    [
        lambda x: x[x[:, 0] > 9].mean(0, keepdim=True).expand(len(x), -1),
        lambda x: x[torch.tensor([0] * len(x))],
        lambda x: x + (1 if bool((x > 0).any()) else 0),
    ],
)
def test_rows_that_the_batch_alone_decides(choose: Callable[[Tensor], Tensor]) -> None:
    model = rows(choose)()
    assert first(model) == "bn"
    assert bnguard.scan(model, (4,), batch_size=8).models[0].layers[0].verdict == "thin"


# --------------------------------------------------------------------------------------------------------- others


def test_layers_that_share_statistics_are_told_apart() -> None:
    class Shares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
            self.b.running_mean, self.b.running_var, self.b.weight = (
                self.a.running_mean,
                self.a.running_var,
                self.a.weight,
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.b(F.adaptive_avg_pool2d(self.a(x), 1))

    assert first(Shares(), (4, 8, 8)) == "b"


@pytest.mark.filterwarnings("ignore")
def test_compiled_models_stop_where_they_do() -> None:
    class Three(Net):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.inner = nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(self.fc(self.inner(self.conv(x)).mean((2, 3))))

    model = torch.jit.script(Three())
    before = {n: b.clone() for n, b in model.named_buffers()}
    assert first(model, (3, 4, 4)) == "bn"
    assert first(model, (3, 1, 1)) == "inner.0"
    assert first(model, (3, 4, 4), batch_size=2) is None
    assert first(model, (3, 4, 4), mode="eval") is None
    assert all(torch.equal(before[n], b) for n, b in model.named_buffers())
    assert "BN202" not in {f.code for f in bnguard.scan(model, (3, 4, 4)).findings}
    loader = DataLoader(TensorDataset(torch.randn(9, 3, 4, 4)), 4)
    assert [(f.stops, f.step, f.layer) for f in bnguard.forecast(model, loader).forecasts] == [(True, 3, "bn")]


def test_vmap_and_functional_calls_are_followed() -> None:
    class Mapped(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.func.vmap(lambda t: t * 2)(x)
            return torch.func.functional_call(self.bn, dict(self.bn.named_parameters()), (x,))

    assert raises(Mapped(), 1, 4)
    assert first(Mapped()) == "bn"


def test_integer_inputs() -> None:
    model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.BatchNorm1d(12))
    assert first(model, "3:int64") == "2"
    assert first(model, torch.zeros(1, 3, dtype=torch.int64), batch_size=2) is None
