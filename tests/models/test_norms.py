"""The table of kinds against PyTorch: what it says of each function is what that function does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import bnguard
from bnguard._facts.models import LayerFact, ModelFact
from bnguard._facts.norm_kinds import BATCH, GROUP, HAND_WRITTEN, INSTANCE, KINDS, NormKind
from bnguard._models.layers import Bound, norms

OF_TORCH = [b for b in norms().functions.values() if b.function.name.startswith("torch")]

NOT_OVER_THE_BATCH = {
    "LayerNorm": "statistics within one sample; nothing is refused",
    "RMSNorm": "as LayerNorm, without a mean",
    "LocalResponseNorm": "sums over neighbouring channels of one pixel; no statistics",
}
"""Classes of ``torch.nn`` that the table leaves out, and why."""


def layers(model: nn.Module, inputs: tuple[int, ...], **options: object) -> tuple[LayerFact, ...]:
    fact: ModelFact = bnguard.scan(model, inputs, **options).models[0]
    assert fact.trace_error is None
    return fact.layers


def classes_of(module: object) -> list[type]:
    named = (getattr(module, name) for name in dir(module) if "Norm" in name)
    return [cls for cls in named if isinstance(cls, type) and issubclass(cls, nn.Module)]


@pytest.mark.parametrize("cls", classes_of(nn), ids=lambda cls: cls.__name__)
def test_every_class_of_torch_is_in_the_table_or_left_out_on_purpose(cls: type) -> None:
    words = {"Batch": BATCH, "Instance": INSTANCE, "Group": GROUP}
    expected = next((kind for word, kind in words.items() if word in cls.__name__), None)
    assert norms().kind_of_class(cls) is expected
    assert (expected is None) == (cls.__name__ in NOT_OVER_THE_BATCH)


def test_every_function_of_torch_that_the_table_names_is_there() -> None:
    named = {f.name for kind in KINDS for f in kind.functions if f.name.startswith("torch")}
    assert {b.function.name for b in OF_TORCH} == named


def test_what_this_torch_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "group_norm")
    monkeypatch.setattr(KINDS, "revision", -1)
    of_group = [b.function.name for b in norms().functions.values() if b.kind is GROUP]
    assert of_group == ["torch.nn.functional:group_norm"]


def test_subclasses_belong_to_their_class_and_others_are_measured() -> None:
    class Own(nn.modules.batchnorm._BatchNorm):
        pass

    class Other(nn.Module):
        pass

    assert norms().kind_of_class(Own) is BATCH
    assert norms().kind_of_class(Other) is HAND_WRITTEN
    assert norms().kind_of_class(nn.Linear) is None


# ------------------------------------------------------------------------------------------ what each function does


@st.composite
def calls(draw: st.DrawFn, bound: Bound) -> dict[str, object]:
    """One call, by the table's words, in doubles."""
    channels = draw(st.sampled_from([1, 2, 3, 4, 6]))
    space = draw(st.lists(st.integers(1, 3), max_size=3))
    x = torch.randn(draw(st.integers(1, 3)), channels, *space, dtype=torch.float64)
    tracked, affine = (draw(st.booleans()) for _ in range(2))
    zeros, ones = torch.zeros(channels).double(), torch.ones(channels).double()
    known = {
        "input": x,
        "running_mean": zeros.clone() if tracked else None,
        "running_var": ones.clone() if tracked else None,
        "weight": ones if affine else None,
        "bias": zeros if affine else None,
        "batch_statistics": draw(st.booleans()) if tracked else True,
        "num_groups": draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0])),
        "momentum": 0.1,
        "eps": 1e-5,
        "cudnn_enabled": False,
    }
    return {word: known[word] for word in bound.function.names}


def influence(bound: Bound, arguments: dict[str, object]) -> int:
    """Over how many values PyTorch took the statistics of the first output: so many change it."""
    x = arguments["input"].clone().requires_grad_()  # type: ignore[attr-defined]
    bound.live(**bound.function.unbind({**arguments, "input": x})).flatten()[0].backward()
    assert x.grad is not None
    return max(1, int(x.grad.count_nonzero()))  # a lone value is its own mean: the output is the bias


@pytest.mark.parametrize("bound", OF_TORCH, ids=lambda b: b.function.name)
def test_counts_and_refusals_are_those_of_pytorch(bound: Bound) -> None:
    @settings(max_examples=80, deadline=None)
    @given(arguments=calls(bound), seed=st.integers(0, 9))
    def check(arguments: dict[str, object], seed: int) -> None:
        torch.manual_seed(seed)
        call = bound.call((), bound.function.unbind(arguments))
        assert call.fits()
        refused = False
        try:
            values = influence(bound, arguments)
        except ValueError as error:
            refused, values = True, call.values
            assert "more than 1" in str(error)
        assert call.raises == refused
        assert values == (call.values if call.batch_statistics else 1)
        assert call.features == arguments["input"].shape[1]  # type: ignore[attr-defined]
        at_twice = {**arguments, "input": torch.cat([call.input, call.input])}
        if refused:  # whether a larger batch would be taken
            try:
                bound.live(**bound.function.unbind(at_twice))
            except ValueError:
                assert not bound.kind.grows_with_batch
            else:
                assert bound.kind.grows_with_batch

    check()


@pytest.mark.parametrize("kind", [k for k in KINDS if k.functions], ids=lambda k: k.name)
def test_statistics_cross_samples_where_the_table_says_so(kind: NormKind) -> None:
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    known = {"input": x, "running_mean": None, "running_var": None, "batch_statistics": True, "num_groups": 2}
    bound = norms().first(kind)
    out = bound.live(**bound.function.unbind({word: v for word, v in known.items() if word in bound.function.names}))
    out[0, 0, 0].backward()
    assert x.grad is not None
    assert bool(x.grad[1:].count_nonzero()) == kind.crosses_samples


# ------------------------------------------------------------------------------------------ what a scan sees of it


class Calls(nn.Module):
    """Makes one call; ``make`` is given the input and whether the model trains."""

    def __init__(self, make: object) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Tensor:
        return self.make(x, self.training)  # type: ignore[operator]


DIRECT = {
    "batch": lambda x, training: torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
    "instance": lambda x, training: torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
    "group": lambda x, training: torch.group_norm(x, 4),
}


@pytest.mark.parametrize("kind", DIRECT)
def test_functions_that_check_nothing_are_seen_alike(kind: str) -> None:
    (layer,) = layers(Calls(DIRECT[kind]), (4, 1, 1))
    assert (layer.kind, layer.type, layer.num_features) == (kind, "functional", 4)
    assert (layer.verdict, layer.fewest_values) == ("single-sample" if kind == "batch" else "thin", 1)
    assert DIRECT[kind](torch.zeros(1, 4, 1, 1), True).shape == (1, 4, 1, 1)  # nothing is raised


@pytest.mark.parametrize(
    "make",
    [
        lambda x, training: F.batch_norm(x, None, None, training=training),
        lambda x, training: F.batch_norm(x, torch.zeros(4, device=x.device), None, training=training),
        lambda x, training: F.instance_norm(x, use_input_stats=training),
        lambda x, training: F.group_norm(x, 2, torch.ones(3, device=x.device), torch.ones(3, device=x.device)),
        lambda x, training: F.group_norm(x, 3),
        lambda x, training: F.instance_norm(x, weight=torch.ones(3, device=x.device), bias=torch.ones(3)),
        lambda x, training: F.batch_norm(x[0, 0, 0], None, None, training=True),
    ],
    ids=["batch", "half", "instance", "group weight", "groups", "instance weight", "rank"],
)
def test_a_call_that_pytorch_refuses_is_told_in_its_words(make: object) -> None:
    """No running statistics to use, parameters of another size, a shape that is none: a forward would stop there."""
    model = Calls(make).eval()
    with pytest.raises((RuntimeError, ValueError, IndexError)) as real:
        model(torch.zeros(2, 4, 3, 3))
    fact = bnguard.scan(model, (4, 3, 3), batch_size=2, mode="eval").models[0]
    assert str(real.value).splitlines()[0] in str(fact.trace_error)


def test_a_forward_with_values_goes_on_too_and_moves_nothing() -> None:
    """Not even running statistics that no module holds."""
    mean, var = torch.zeros(4), torch.ones(4)

    class Decides(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            x = F.batch_norm(x, mean, var, training=True) if x.sum().item() < 1e9 else x
            return super().forward(x)

    model = Decides(nn.Unflatten(1, (4, 1)), nn.GroupNorm(2, 4), nn.InstanceNorm1d(4))
    for size, batch in ((1, "fails"), (3, "thin")):
        fact = bnguard.scan(model, (4,), batch_size=size).models[0]
        assert (fact.method, fact.trace_error) == ("real", None)
        assert {x.kind: x.verdict for x in fact.layers} == {"batch": batch, "group": "ok", "instance": "fails"}
    assert (mean.tolist(), var.tolist()) == ([0.0] * 4, [1.0] * 4)


class ByHand(nn.BatchNorm2d):
    """A BatchNorm by its class, whose own code calls no function that is known."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return (x - self.running_mean[:, None, None]) / (self.running_var[:, None, None] + self.eps).sqrt()
        if len(x) == 1 and x[0, 0].numel() == 1:
            raise ValueError("one value")
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (var + self.eps).sqrt()


def test_a_subclass_that_computes_by_itself_is_measured() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), ByHand(4))
    (layer,) = layers(model, (3, 8, 8))
    assert (layer.kind, layer.verdict, layer.fewest_values) == ("batch", "single-sample", 36)
    (layer,) = layers(model, (3, 8, 8), batch_size=8)
    assert (layer.verdict, layer.fewest_values) == ("ok", 8 * 36)
    (layer,) = layers(model, (3, 8, 8), mode="eval")
    assert layer.verdict == "frozen"
    assert bnguard.scan(model, (3, 3, 3)).models[0].first_failure == "1"


class Wraps(nn.BatchNorm2d):
    """A BatchNorm by its class that leaves the work to another layer within it."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.inner = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_a_layer_within_a_layer_answers_for_both() -> None:
    fact = bnguard.scan(nn.Sequential(Wraps(3)), (3, 1, 1)).models[0]
    assert fact.first_failure == "0.inner"
    assert [(x.name, x.verdict) for x in fact.layers] == [("0", "not-reached"), ("0.inner", "fails")]


@pytest.mark.parametrize(
    ("layer", "kind"),
    [(nn.BatchNorm2d(4), "batch"), (nn.GroupNorm(2, 4), "group"), (nn.InstanceNorm2d(4), "instance")],
)
def test_a_scripted_layer_has_the_kind_of_its_class(layer: nn.Module, kind: str) -> None:
    fact = bnguard.scan(torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1), layer)), (3, 8, 8)).models[0]
    assert [(x.name, x.type, x.kind) for x in fact.layers] == [("1", type(layer).__name__, kind)]
    assert fact.layers[0].num_groups == (2 if kind == "group" else None)


def test_the_lines_that_create_layers_are_recorded_for_each_class(tmp_path: Path) -> None:
    text = "import torch.nn as nn\nnet = nn.Sequential(\n    nn.Conv2d(3, 4, 1),\n{})\n"
    rows = ["BatchNorm2d(4)", "LazyBatchNorm2d()", "InstanceNorm2d(4)", "GroupNorm(2, 4)", "SyncBatchNorm(4)"]
    path = tmp_path / "model.py"
    path.write_text(text.format("".join(f"    nn.{row},\n" for row in rows)))
    fact = bnguard.scan(f"{path}:net", (3, 8, 8)).models[0]
    assert [x.source.line for x in fact.layers if x.source] == [4, 5, 6, 7, 8]
