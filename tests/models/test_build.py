"""Construction without weights: nothing takes memory, nothing is downloaded, nothing stays changed."""

from __future__ import annotations

import gc
import os
import random
import socket
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import nn
from torch.nn import init

import bnguard
from bnguard._errors import BnguardError, UserCodeError
from bnguard._models.build import Construction, watched, weightless
from bnguard._models.discover import models_of
from bnguard._targets import load_object, parse

TARGETS = Path(__file__).parents[1] / "fixtures" / "targets"


def built(make):
    construction = Construction()
    with weightless(construction):
        return make(), construction


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


# --------------------------------------------------------------------------------- without memory


def test_parameters_take_no_memory_and_buffers_are_real() -> None:
    net, _ = built(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    assert all(p.is_meta for p in net.parameters())
    assert [type(p) for p in net.parameters()] == [nn.Parameter] * 4
    assert net[1].running_var.tolist() == [1.0] * 4


def test_a_large_model_stays_small() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    net, _ = built(lambda: nn.Sequential(*(nn.Linear(8192, 8192) for _ in range(40))))
    assert sum(p.numel() for p in net.parameters()) > 2.6e9
    assert process.memory_info().rss - before < 50e6


def test_shape_strides_dtype_and_gradient_are_kept() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.zeros(2, 3).t(), requires_grad=False)
            self.b = nn.Parameter(torch.zeros(2, dtype=torch.float16))
            self.register_parameter("c", None)
            self.rates = nn.ParameterList([torch.zeros(1), torch.ones(2)])

    net, _ = built(Net)
    assert (net.a.stride(), net.a.requires_grad) == ((1, 3), False)
    assert net.b.dtype is torch.float16
    assert net.c is None
    assert [p.shape[0] for p in net.rates] == [1, 2]


def test_tied_weights_stay_tied_and_lazy_ones_lazy() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            shared = nn.Parameter(torch.zeros(2))
            self.a, self.b = shared, shared
            self.c = nn.Linear(2, 2)
            self.d = nn.Linear(2, 2)
            self.d.weight = self.c.weight
            self.lazy = nn.LazyLinear(3)

    net, _ = built(Net)
    assert net.a is net.b
    assert net.c.weight is net.d.weight
    assert nn.parameter.is_lazy(net.lazy.weight)


def test_attributes_are_set_as_usual() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width, self.name = 3, "net"
            self.register_buffer("seen", torch.zeros(1))
            self.seen = None
            self.part = nn.ReLU()
            self.part = None

        @property
        def depth(self) -> int:
            return self._depth

        @depth.setter
        def depth(self, value: int) -> None:
            self._depth = value * 2

    def make() -> Net:
        net = Net()
        net.depth = 4
        return net

    net, _ = built(make)
    assert (net.width, net.name, net.seen, net.part, net.depth) == (3, "net", None, None, 8)
    with pytest.raises(TypeError, match="cannot assign"):
        built(lambda: setattr(nn.Linear(1, 1), "weight", 3))


def test_constructors_that_look_at_values() -> None:
    methods = {}
    for one in bnguard.scan(str(TARGETS / "values.py"), (4,)).models:
        methods[one.cls] = (one.method, one.first_failure)
    assert methods == {
        "DropPath": ("meta", "bn"),
        "LooksAtWeights": ("meta", "bn"),
        "Tied": ("meta", "bn"),
        "Lazy": ("meta", "bn"),
    }
    with models_of(parse(f"{TARGETS / 'values.py'}:LooksAtWeights")) as (one,):
        assert not one.model.fc.weight.is_meta, "built normally, as it looks at a weight"
        assert one.model.bn.num_features == 4


def test_an_import_that_looks_at_values(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(
        "import torch\nfrom torch import nn\nnet = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))\n"
        f"torch.save(net.state_dict(), {str(tmp_path / 'saved.pt')!r})\nwidth = int(net[0].weight.abs().sum()) + 1\n"
    )
    assert bnguard.scan(str(path), (4,)).models[0].first_failure == "1"
    saved = torch.load(tmp_path / "saved.pt")
    assert not any(t.is_meta for t in saved.values()), "a model without weights never reaches a file"


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("cifar_resnet.py:ResNet6", (3, 2, 2)),
        ("cifar_resnet.py:ResNet10", (3, 8, 8)),
        ("pointnet.py:PointNetCls", None),
    ],
)
def test_the_answer_is_that_of_the_model_built_normally(text: str, inputs) -> None:
    text = str(TARGETS / text)
    without = bnguard.scan(text, inputs or (3, 50)).models[0]
    normal = bnguard.scan(load_object(f"{text}()"), inputs or (3, 50)).models[0]
    assert without.first_failure == normal.first_failure
    assert [(x.name, x.verdict, x.calls) for x in without.layers] == [
        (x.name, x.verdict, x.calls) for x in normal.layers
    ]


# ------------------------------------------------------------------------------ without downloads


@pytest.mark.parametrize("name", ["hub", "zoo", "bound", "filtered", "copied", "enum"])
def test_weights_are_not_downloaded(no_network: None, name: str) -> None:
    report = bnguard.scan(f"{TARGETS / 'pretrained.py'}:{name}", (3, 32, 32))
    model = report.models[0]
    assert model.layers[0].name == "bn1"
    assert any("weights were asked for and not downloaded" in note for note in model.notes)


def test_weights_that_are_computed_with_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file joins what it downloads with itself, which cannot be done with nothing."""
    asked = []

    def fetch(url, folder, *_, **__):
        asked.append(url)
        raise OSError("no network here")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(UserCodeError, match="raised OSError: no network here"):
        bnguard.scan(f"{TARGETS / 'pretrained.py'}:adapted", (3, 32, 32))
    assert asked == ["https://weights.invalid/net.pth"]


def test_timm_does_not_download(no_network: None, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    path = tmp_path / "model.py"
    path.write_text("import timm\ndef build(): return timm.create_model('resnet10t', pretrained=True, num_classes=3)\n")
    model = bnguard.scan(str(path), (3, 32, 32)).models[0]
    assert model.first_failure is not None
    assert any("not downloaded" in note for note in model.notes)


def test_other_weights_are_loaded_as_usual() -> None:
    def make() -> nn.Linear:
        net = nn.Linear(2, 2)
        net.load_state_dict({"weight": torch.zeros(3, 3)}, strict=False)
        return net

    with pytest.raises(RuntimeError, match="size mismatch"):
        built(make)


# ------------------------------------------------------------------------------- nothing is left


class State:
    """What construction and scanning take in hand, by identity."""

    def __init__(self) -> None:
        base = nn.modules.batchnorm._NormBase
        functions = [init.kaiming_uniform_, init.ones_, torch.hub.load_state_dict_from_url, torch.save]
        self.held = [
            nn.Module.register_parameter, nn.Module.__setattr__, nn.Module.load_state_dict, base.__init__,
            nn.GroupNorm.__init__, torch.Tensor.backward, torch.autograd.backward, sys.stdout, sys.argv,
            *(f.__code__ for f in functions), *(f.__defaults__ for f in functions),
        ]  # fmt: skip
        self.values = [
            list(sys.path), list(sys.meta_path), gc.isenabled(), Path.cwd(), dict(os.environ), torch.is_grad_enabled(),
            torch.get_default_dtype(), torch.get_rng_state().tolist(), random.getstate(),
            [x.tolist() if hasattr(x, "tolist") else x for x in np.random.get_state()],
        ]  # fmt: skip
        self.modules = {n for n in sys.modules if not n.startswith(("torch", "numpy", "encodings"))}

    def check(self) -> None:
        now = State()
        assert all(a is b for a, b in zip(self.held, now.held, strict=True))
        assert self.values == now.values
        assert {n for n in now.modules - self.modules if "bnguard" not in n} == set()


_MEDDLES = """
import os, random, sys
import numpy, torch
from torch import nn
torch.manual_seed(1); random.random(); numpy.random.rand(); torch.set_grad_enabled(False)
torch.set_default_dtype(torch.float64); sys.argv = []; sys.path.append("nowhere"); os.chdir("/")
{top}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(4)
        {constructor}

    def forward(self, x):
        {forward}
        return self.bn(x)
"""


@pytest.mark.parametrize("part", ["none", "top", "constructor", "forward"])
@pytest.mark.parametrize(
    "how", ["1 / 0", "sys.exit()", "raise KeyboardInterrupt", "torch.ones(1, requires_grad=True).backward()"]
)
def test_the_process_is_as_before(tmp_path: Path, part: str, how: str) -> None:
    words = {"top": "", "constructor": "", "forward": ""} | {part: how}
    path = tmp_path / "model.py"
    path.write_text(_MEDDLES.format(**words))
    bnguard.scan(nn.BatchNorm1d(4), (4,))
    before = State()
    try:
        bnguard.scan(str(path), (4,), stubs=["stubbed"])
    except (BnguardError, KeyboardInterrupt):
        assert part != "none"
    before.check()


def test_a_disabled_collector_stays_disabled() -> None:
    gc.disable()
    try:
        built(lambda: nn.Linear(2, 2))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_everything_is_restored_after_an_interrupt() -> None:
    before = State()
    with pytest.raises(KeyboardInterrupt), weightless(Construction()), watched(Construction()):
        raise KeyboardInterrupt
    before.check()
    assert not nn.Linear(2, 2).weight.is_meta
