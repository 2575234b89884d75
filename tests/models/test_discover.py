"""Which names of a file are models, or build some."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from bnguard._models.discover import candidates
from bnguard._models.guess import accepts, parameters, required, set_line
from bnguard._stand_ins.packages import stand_in
from bnguard._targets import environment, import_module, parse

TARGETS = Path(__file__).parents[1] / "fixtures" / "targets"


def offered(path: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    with environment(target := parse(str(path))):
        return {c.name: (c.kind, c.missing) for c in candidates(import_module(target))}


def test_a_file_of_factories() -> None:
    found = offered(TARGETS / "cifar_resnet.py")
    assert found == {
        "ResNet6": ("factory", ()),
        "ResNet10": ("factory", ()),
        "BasicBlock": ("class", ("in_planes", "planes")),
        "ResNet": ("class", ("block", "num_blocks")),
    }


def test_what_counts_as_a_factory() -> None:
    found = offered(TARGETS / "factories.py")
    assert [n for n, (kind, _) in found.items() if kind == "factory"] == [
        "through_another",
        "moved",
        "either",
        "annotated",
        "by_name",
        "needs_width",
    ]
    assert found["needs_width"][1] == ("width",)


def test_instances_but_no_losses() -> None:
    assert list(offered(TARGETS / "instances.py")) == ["backbone", "model", "net"]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from torch.nn import Linear, Sequential", []),
        ("from torchvision.models import resnet18, ResNet", []),
        ("from torchvision import models\ndef build(): return models.resnet18()", ["build"]),
        ("import torchvision as tv\ndef build(): return tv.models.resnet.resnet18()", ["build"]),
        ("from torchvision.models import resnet18\ndef b():\n  m: object = resnet18()\n  return m", ["b"]),
        ("import timm\ndef build(): return timm.create_model('resnet10t')", ["build"]),
        ("from torch import nn\ndef f():\n  def g(): return nn.ReLU()\n  return g", []),
        ("from torch import nn\nf = lambda: nn.ReLU()", []),
        ("from torch import nn\nclass Base(nn.Module): pass", []),
        ("from torch import nn\ndef _f(): return nn.ReLU()", []),
        ("from torch import nn\nasync def f(): return nn.ReLU()", []),
        ("from torch import nn\ndef f(): yield nn.ReLU()", []),
        ("from torch import nn\ndef f() -> 'no such name': return nn.ReLU()", ["f"]),
        ("from torch import nn\ndef f() -> 'list[nn.Module]': return nn.ReLU()", ["f"]),
        ("from torch import nn\ndef f() -> 'nn.ReLU': return eval('1')", ["f"]),
        ("from torch import nn\n_net = nn.Linear(2, 2)", []),
        (
            "import abc\nfrom torch import nn\nclass A(nn.Module, abc.ABC):\n @abc.abstractmethod\n def f(self): 0",
            [],
        ),
    ],
)
def test_less_usual_files(tmp_path: Path, source: str, names: list[str]) -> None:
    pytest.importorskip("timm") if "timm" in source else None
    path = tmp_path / "model.py"
    path.write_text(source)
    assert list(offered(path)) == names


def test_a_module_without_source() -> None:
    made = ModuleType("made")
    exec("from torch import nn\ndef f(): return nn.ReLU()", vars(made))
    assert candidates(made) == []


def test_signatures() -> None:
    class Net:
        def __init__(self, a, b, /, c, *args, d, e=1, **kwargs) -> None: ...

    class Stub(stand_in("Base")):
        def __init__(self, width) -> None: ...

    assert required(Net) == ("a", "b", "c", "d")
    assert required(Stub) == ("width",), "a metaclass does not hide the constructor"
    assert required(len) == ("obj",)
    assert parameters(print) is not None
    assert accepts(Net, "anything")
    assert accepts(Stub, "width")
    assert not accepts(Stub, "self")
    assert not accepts(lambda *args: args, "args")


def test_the_line_to_type() -> None:
    class Net:
        def __init__(self, cfg, opt, width) -> None:
            self.a = cfg.model
            self.b = opt["lr"] + opt["lr"]
            self.c = width.bit_length()

    assert set_line(Net, ("cfg", "opt", "width")) == "--set cfg.model=… --set opt.lr=… --set width=…"
    assert set_line(len, ("obj",)) == "--set obj=…"
