"""The table of normalisation kinds: one entry is enough, and an entry that contradicts itself is refused."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnguard
from bnguard._facts.models import LayerFact
from bnguard._facts.norm_kinds import BATCH, HAND_WRITTEN, KINDS, NormFunction, NormKind, NormKinds
from bnguard._remedies import REMEDIES
from bnguard._report.formats import json as as_json
from bnguard._report.render import FORMATS, render_as
from bnguard.repair import allow_single_sample, freeze, to_group_norm, to_sync

LAYER = NormKind(
    name="layer",
    title="LayerNorm",
    per="sample",
    features=lambda shape, arguments: (
        prod(arguments["normalized_shape"])
        if shape[-len(arguments["normalized_shape"]) :] == tuple(arguments["normalized_shape"])
        else None
    ),
    values=lambda _, arguments: prod(arguments["normalized_shape"]),
    classes=("torch.nn.modules.normalization:LayerNorm",),
    functions=(
        NormFunction("torch.nn.functional:layer_norm", "input normalized_shape weight bias eps"),
        NormFunction("torch:layer_norm", "input normalized_shape weight bias eps cudnn_enable"),
    ),
    options=("normalized_shape",),
)

# ------------------------------------------------------------------------------------------ the table itself


def function(**changes: object) -> NormFunction:
    return replace(NormFunction("package.module:norm", "input weight"), **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": (), "functions": ()}, "neither a class nor a function"),
        ({"name": "batch"}, "is there already"),
        ({"functions": (function(parameters=""),)}, "package.module:norm has no parameter 'input'"),
        ({"functions": (function(parameters="weight bias"),)}, "has no parameter 'input'"),
        ({"options": ("num_groups",)}, "has no parameter 'num_groups'"),
        ({"functions": (function(parameters="x input"),)}, "two parameters of one meaning"),
        ({"functions": (function(), function())}, "package.module:norm is there twice"),
        ({"functions": (BATCH.functions[0],)}, "torch.nn.functional:batch_norm is there twice"),
        ({"classes": ("torch.nn.modules.batchnorm:BatchNorm2d",)}, "BatchNorm2d is there twice"),
        ({"classes": ("torch.nn.Norm",)}, "'torch.nn.Norm' is no name such as package.module:name"),
        ({"measured": True}, "is measured, as another kind is"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(changes: dict[str, object], words: str) -> None:
    kind = replace(BATCH, name="own", classes=("package.module:Norm",), functions=(function(),))
    table = NormKinds(KINDS)
    with pytest.raises(ValueError, match=words):
        table.add(replace(kind, **changes))
    with pytest.raises(ValueError, match=words):  # as the module does when it is imported
        NormKinds([*KINDS, replace(kind, **changes)])
    table.add(kind)
    assert table["own"] is kind
    table.remove("own")
    assert list(table) == list(KINDS)


@pytest.mark.parametrize("function", [f for kind in KINDS for f in kind.functions], ids=lambda f: f.name)
def test_arguments_are_read_by_place_and_by_name(function: NormFunction) -> None:
    names = function.parameters.split()
    by_place, by_name = function.bind(range(len(names)), {}), function.bind((), {n: i for i, n in enumerate(names)})
    assert by_place == by_name
    assert list(function.unbind(by_place)) == names
    own = inspect.unwrap(getattr(F, function.name.partition(":")[2], None) or len)
    if function.name.startswith("torch.nn.functional"):
        assert names == list(inspect.signature(own).parameters)


def test_remedies_are_those_of_the_one_list() -> None:
    assert {remedy for kind in KINDS for remedy in kind.remedies} <= set(REMEDIES)


def test_a_fact_knows_its_kind_by_name() -> None:
    fact = LayerFact("bn", "BatchNorm1d", "batch", 4, True, True, True, 0.1, 1e-5, "fails")
    assert fact.norm is BATCH
    assert replace(fact, kind="hand-written").norm is HAND_WRITTEN


def test_a_remedy_is_offered_to_the_kinds_that_it_helps() -> None:
    """``allow_single_sample`` takes BatchNorm layers alone, so that nobody else is sent to it."""

    class Refuses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.running_mean, self.running_var = nn.Buffer(torch.zeros(4)), nn.Buffer(torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training and len(x) == 1:
                raise ValueError("one sample")
            return x - x.mean(0) if self.training else x - self.running_mean

    own, torchs = (bnguard.scan(nn.Sequential(nn.Linear(4, 4), norm), (4,)) for norm in (Refuses(), nn.BatchNorm1d(4)))
    assert [f.code for f in own.findings] == [f.code for f in torchs.findings] == ["BN101"]
    assert "allow_single_sample" in str(torchs.findings[0].fix)
    assert "allow_single_sample" not in str(own.findings[0].fix)
    assert "merge_tail" in str(own.findings[0].fix)


# ------------------------------------------------------------------------------------------ one entry is enough


@pytest.fixture
def layer_norm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take LayerNorm into the table for one test; the schema knows the shipped kinds alone."""
    monkeypatch.setattr(as_json, "render_document", inspect.unwrap(as_json.render_document))
    KINDS.add(LAYER)
    yield
    KINDS.remove("layer")


class Words(nn.Module):
    """A LayerNorm, a functional one without parameters, one over a single value, and a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.single, self.bn = nn.LayerNorm((3, 6)), nn.LayerNorm(1), nn.BatchNorm1d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.layer_norm(self.norm(x), normalized_shape=(6,), eps=1e-3)
        return self.bn(x.mean(1)) + self.single(x[:, 0, :1])


@pytest.mark.usefixtures("layer_norm")
def test_one_entry_makes_a_kind_seen_by_a_scan() -> None:
    fact = bnguard.scan(Words(), (3, 6)).models[0]
    assert [(x.name, x.type, x.kind, x.num_features, x.verdict) for x in fact.layers] == [
        ("norm", "LayerNorm", "layer", 18, "ok"),
        ("single", "LayerNorm", "layer", 1, "thin"),
        ("bn", "BatchNorm1d", "batch", 6, "fails"),
        ("", "functional", "layer", 6, "ok"),
    ]
    shapes = {x.name: [(c.shape, c.values_per_statistic, c.batch_statistics) for c in x.calls] for x in fact.layers}
    assert shapes["norm"] == [((1, 3, 6), 18, True)]
    assert shapes[""] == [((1, 3, 6), 6, True)]
    assert (fact.layers[3].eps, fact.layers[3].affine, fact.layers[3].momentum) == (1e-3, False, None)
    assert fact.first_failure == "bn"
    assert "norm" not in {x.name for x in bnguard.scan(Words(), (3, 6), mode="eval").models[0].failing}


def test_the_entry_is_gone_afterwards() -> None:
    assert [x.kind for x in bnguard.scan(Words(), (3, 6)).models[0].layers] == ["batch"]


@pytest.mark.usefixtures("layer_norm")
def test_it_is_forecast_and_rendered_in_every_format() -> None:
    loader = DataLoader(TensorDataset(torch.randn(9, 3, 6)), 8)
    report = bnguard.forecast(Words(), loader)
    assert (report.forecasts[0].step, report.forecasts[0].layer) == (2, "bn")
    assert bnguard.forecast(nn.Sequential(nn.LayerNorm(6)), loader).forecasts[0].stops is False
    for one in (report, bnguard.scan(Words(), (3, 6))):
        assert "BN205" in {f.code for f in one.findings}  # the one over a single value, in words of its own
        for fmt in FORMATS:
            assert "LayerNorm" in render_as(fmt, one) or fmt in ("github", "junit")


@pytest.mark.usefixtures("layer_norm")
@pytest.mark.parametrize(
    ("model", "layer", "layer_type"),
    [(nn.Sequential(nn.LayerNorm(5)), "0", "LayerNorm"), (Words(), "", "functional")],
    ids=["layer", "functional"],
)
def test_its_failure_is_diagnosed(model: nn.Module, layer: str, layer_type: str) -> None:
    if isinstance(model, Words):
        model.norm = nn.Identity()
    with pytest.raises(RuntimeError) as caught, bnguard.guard():
        model(torch.zeros(2, 3, 7))
    found = caught.value.bnguard
    assert (found.layer, found.layer_type, found.kind, found.shape) == (layer, layer_type, "layer", (2, 3, 7))
    assert found.text()


# ------------------------------------------------------------------------------------------ other packages

INPLACE_ABN = {
    "__init__.py": "from .abn import ABN, InPlaceABN, InPlaceABNSync",
    "functions.py": """
import torch

def inplace_abn(x, weight, bias, running_mean, running_var, training=True, momentum=0.1, eps=1e-05,
                activation="leaky_relu", activation_param=0.01):
    if x.is_meta:
        raise RuntimeError("this kernel takes tensors with values alone")
    if training and x.numel() <= x.size(1):
        raise ValueError("inplace_abn is trying to compute batch statistics, but the input tensor only contains a "
                         "single sample per channel")
    rest = [0, *range(2, x.dim())]
    mean, var = (x.mean(rest), x.var(rest, unbiased=False)) if training else (running_mean, running_var)
    if training and running_mean is not None:
        running_mean.mul_(1 - momentum).add_(momentum * mean)
    shape = [1, -1] + [1] * (x.dim() - 2)
    x.sub_(mean.view(shape)).div_((var + eps).sqrt().view(shape))
    return torch.nn.functional.leaky_relu_(x, activation_param)

def inplace_abn_sync(x, weight, bias, running_mean, running_var, training=True, momentum=0.1, eps=1e-05,
                     activation="leaky_relu", activation_param=0.01, group=None):
    return inplace_abn(x, weight, bias, running_mean, running_var, training, momentum, eps)
""",
    "abn.py": """
import torch
from torch import nn
from .functions import inplace_abn, inplace_abn_sync

class ABN(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.num_features, self.eps, self.momentum, self.affine = num_features, 1e-5, 0.1, True
        self.weight, self.bias = nn.Parameter(torch.ones(num_features)), nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        x = nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )
        return nn.functional.leaky_relu(x, 0.01, inplace=True)

class InPlaceABN(ABN):
    def forward(self, x):
        return inplace_abn(
            x, self.weight, self.bias, self.running_mean, self.running_var, self.training, self.momentum, self.eps
        )

class InPlaceABNSync(ABN):
    def forward(self, x):
        return inplace_abn_sync(
            x, self.weight, self.bias, self.running_mean, self.running_var, self.training, self.momentum, self.eps,
            "leaky_relu", 0.01, group=None,
        )
""",
}

APEX = {
    "__init__.py": "",
    "parallel/__init__.py": "from .optimized_sync_batchnorm import SyncBatchNorm",
    "parallel/optimized_sync_batchnorm.py": """
from torch.nn.modules.batchnorm import _BatchNorm
from .optimized_sync_batchnorm_kernel import SyncBatchnormFunction

class SyncBatchNorm(_BatchNorm):
    def __init__(self, num_features, channel_last=False):
        super().__init__(num_features)
        self.channel_last = channel_last

    def forward(self, input, z=None):
        return SyncBatchnormFunction.apply(
            input, z, self.weight, self.bias, self.running_mean, self.running_var, self.eps,
            self.training or not self.track_running_stats, 0.1, None, self.channel_last, False,
        )
""",
    "parallel/optimized_sync_batchnorm_kernel.py": """
from torch.autograd.function import Function

class SyncBatchnormFunction(Function):
    @staticmethod
    def forward(ctx, input, z, weight, bias, running_mean, running_variance, eps, track_running_stats=True,
                momentum=1.0, process_group=None, channel_last=False, fuse_relu=False):
        if input.is_meta:
            raise RuntimeError("this kernel takes CUDA tensors alone")
        if track_running_stats and input.numel() // input.size(-1 if channel_last else 1) == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size{input.size()}")
        return input.clone()
""",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look-alikes of packages that need a compiler: the names, signatures, checks and words are theirs."""
    for package, files in (("inplace_abn", INPLACE_ABN), ("apex", APEX)):
        for name, text in files.items():
            path = tmp_path / "site-packages" / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("inplace_abn", "apex"):
            del sys.modules[name]


def made(name: str) -> nn.Module:
    import apex.parallel
    import inplace_abn

    return getattr(apex.parallel if name == "SyncBatchNorm" else inplace_abn, name)(4)


OTHERS = pytest.mark.parametrize("name", ["ABN", "InPlaceABN", "InPlaceABNSync", "SyncBatchNorm"])


@OTHERS
@pytest.mark.usefixtures("packages")
def test_layers_of_other_packages_fail_where_they_do(name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), made(name))
    fact = bnguard.scan(model, (4,)).models[0]
    (layer,) = fact.layers
    assert fact.method == "meta"  # the call was seen: nothing was run
    assert (layer.name, layer.type, layer.kind, layer.verdict, layer.min_batch_size) == ("1", name, "batch", "fails", 2)
    assert (layer.num_features, layer.track_running_stats, layer.momentum) == (4, True, 0.1)
    assert [(c.shape, c.values_per_statistic, c.error) for c in layer.calls] == [((1, 4), 1, "ValueError")]
    with torch.no_grad():
        model(torch.randn(2, 4))
        with pytest.raises(ValueError, match="per channel"):
            model(torch.randn(1, 4))
    assert bnguard.scan(model, (4,), mode="eval").models[0].layers[0].verdict == "frozen"
    assert bnguard.scan(model, (4,), batch_size=32).models[0].layers[0].verdict == "ok"
    assert bnguard.scan(nn.Sequential(made(name)), (4, 3, 3)).models[0].layers[0].verdict == "single-sample"


@OTHERS
@pytest.mark.usefixtures("packages")
def test_their_failure_is_diagnosed(name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), made(name))
    with pytest.raises(ValueError, match="per channel") as caught, torch.no_grad(), bnguard.guard():
        model(torch.randn(1, 4))
    found = caught.value.bnguard
    assert (found.layer, found.layer_type, found.kind, found.code) == ("1", name, "batch", "RT101")
    assert (found.shape, found.batch_statistics, found.mode) == ((1, 4), True, "train")
    assert "running statistics" in {r.change for r in found.replays if r.succeeds} or name == "SyncBatchNorm"
    assert "eval()" in found.workarounds[0]  # no gradients are recorded


@OTHERS
@pytest.mark.usefixtures("packages")
def test_their_traceback_is_read(name: str) -> None:
    import traceback

    from bnguard._explain_error import diagnose_text

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = made(name)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x)

    try:
        Net()(torch.randn(1, 4))
    except ValueError:
        text = traceback.format_exc()
    found = diagnose_text(text)
    assert found is not None
    assert found.code == "RT101"
    assert found.kind == "batch"
    assert found.layer == "head" or "head" in found.candidates
    assert found.layer_type in (None, "BatchNorm1d")  # F.batch_norm says so much; other functions say nothing


@pytest.mark.usefixtures("packages")
def test_their_functions_are_as_before_after_a_scan() -> None:
    layer = made("InPlaceABN")
    from inplace_abn import functions

    def state() -> list[object]:
        function = functions.inplace_abn
        return [function.__code__, function.__defaults__, function.__kwdefaults__]

    before = state()
    bnguard.scan(layer, (4, 3, 3))
    assert state() == before

    class Counts(nn.Sequential):
        """The values decide, so that it is really run; the function runs as it is written, and moves no buffer."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self[0](x)
            return x if x.min().item() < 100 else self[1](x)

    model = Counts(layer, nn.BatchNorm2d(7))
    fact = bnguard.scan(model, (4, 3, 3), batch_size=2).models[0]
    assert (fact.method, fact.trace_error) == ("real", None)
    assert [(x.name, x.verdict) for x in fact.layers] == [("0", "ok"), ("1", "not-reached")]
    assert state() == before
    assert layer.running_mean.eq(0).all()


@pytest.mark.usefixtures("packages")
def test_channels_may_come_last() -> None:
    import apex.parallel

    model = nn.Sequential(apex.parallel.SyncBatchNorm(4, channel_last=True))
    (layer,) = bnguard.scan(model, (1, 1, 4)).models[0].layers
    assert [(c.shape, c.values_per_statistic) for c in layer.calls] == [((1, 4, 1, 1), 1)]
    assert layer.verdict == "fails"
    (layer,) = bnguard.scan(model, (3, 3, 4)).models[0].layers
    assert [(c.shape, c.values_per_statistic) for c in layer.calls] == [((1, 4, 3, 3), 9)]


@pytest.mark.usefixtures("packages")
def test_fixes_take_them_or_say_why_not() -> None:
    for fix in (allow_single_sample, freeze):
        for name in ("ABN", "InPlaceABN"):
            model = nn.Sequential(nn.Linear(4, 4), made(name))
            assert fix(model, inputs=(4,)).changed == ("1",)
            with torch.no_grad():
                assert model.train()(torch.randn(1, 4)).isfinite().all()
    for fix in (to_group_norm, to_sync):
        with pytest.raises(bnguard.BnguardError, match=r"\(InPlaceABN\) does more than normalise"):
            fix(nn.Sequential(nn.Linear(4, 4), made("InPlaceABN")), verify=False)

    class Plain(type(made("ABN"))):  # type: ignore[misc]
        """With the activation that does nothing."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training)

    with pytest.raises(bnguard.BnguardError, match=r"\(Plain\) is no BatchNorm of torch's"):
        to_sync(nn.Sequential(nn.Conv2d(3, 4, 1), Plain(4)), verify=False)


@pytest.mark.usefixtures("packages")
def test_another_release_may_have_other_parameters(tmp_path: Path) -> None:
    for name in ("optimized_sync_batchnorm.py", "optimized_sync_batchnorm_kernel.py"):
        path = tmp_path / "site-packages/apex/parallel" / name
        path.write_text(path.read_text().replace("input, z,", "input,").replace(", False,\n", ",\n"))
    model = nn.Sequential(nn.Linear(4, 4), made("SyncBatchNorm"))
    (layer,) = bnguard.scan(model, (4,)).models[0].layers
    assert (layer.verdict, layer.name, layer.eps) == ("fails", "1", 1e-5)
    with torch.no_grad():
        assert model(torch.randn(2, 4)).shape == (2, 4)
    assert bnguard.scan(model, (4,), mode="eval").models[0].layers[0].verdict == "frozen"


@pytest.mark.usefixtures("packages")
def test_who_counts_the_samples_of_all_ranks() -> None:
    """Apex asks the others before it refuses, as torch's SyncBatchNorm does; InPlaceABNSync looks at its own first."""
    one_each = {"n": 18, "batch_size": 8, "world_size": 2}
    for name, stops in (("SyncBatchNorm", False), ("InPlaceABNSync", True), ("InPlaceABN", True)):
        report = bnguard.forecast(nn.Sequential(nn.Linear(4, 4), made(name)), one_each, inputs=(4,))
        assert (name, report.forecasts[0].stops) == (name, stops)
    for name in ("SyncBatchNorm", "InPlaceABNSync"):
        with pytest.raises(bnguard.BnguardError, match="takes its statistics over all ranks"):
            allow_single_sample(nn.Sequential(nn.Linear(4, 4), made(name)), inputs=(4,))


class GBN(nn.Module):
    """As pytorch-tabnet's: a BatchNorm for each piece of the batch."""

    def __init__(self, features: int, virtual: int) -> None:
        super().__init__()
        self.bn, self.virtual = nn.BatchNorm1d(features), virtual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.bn(piece) for piece in x.chunk(-(-x.shape[0] // self.virtual), 0)], 0)


class GhostBatchNorm(nn.BatchNorm2d):
    """As those that fold the pieces into the channels."""

    def __init__(self, features: int, splits: int) -> None:
        super().__init__(features)
        self.splits = splits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, *space = x.shape
        if not self.training:
            return super().forward(x)
        mean, var, weight, bias = (
            t.repeat(self.splits) for t in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        folded = x.reshape(-1, c * self.splits, *space)
        return F.batch_norm(folded, mean, var, weight, bias, True).view(n, c, *space)


def test_ghost_batch_norm_needs_no_entry() -> None:
    """What it calls is seen anyway: each piece, with the size that it has."""
    model = nn.Sequential(nn.Linear(4, 4), GBN(4, virtual=8))
    fact = bnguard.scan(model, (4,), batch_size=17).models[0]
    (layer,) = fact.layers
    assert (layer.name, layer.type, [c.shape for c in layer.calls]) == ("1.bn", "BatchNorm1d", [(6, 4), (6, 4), (5, 4)])
    assert [bnguard.scan(model, (4,), batch_size=n).models[0].first_failure for n in (1, 2, 8)] == ["1.bn", None, None]
    single = nn.Sequential(nn.Linear(4, 4), GBN(4, virtual=1))
    assert bnguard.scan(single, (4,), batch_size=3).models[0].first_failure == "1.bn"
    with pytest.raises(ValueError, match="more than 1 value"):
        single(torch.zeros(3, 4))

    folding = nn.Sequential(GhostBatchNorm(4, splits=2))
    (layer,) = bnguard.scan(folding, (4, 1, 1), batch_size=2).models[0].layers
    assert (layer.type, layer.verdict, [c.shape for c in layer.calls]) == ("GhostBatchNorm", "fails", [(1, 8, 1, 1)])
    with pytest.raises(ValueError, match="more than 1 value"):
        folding(torch.zeros(2, 4, 1, 1))
    assert bnguard.scan(folding, (4, 1, 1), batch_size=4).models[0].first_failure is None
