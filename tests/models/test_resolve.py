"""From a target to models: every form of a target, arguments, and what a whole file offers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from bnguard._errors import BnguardError, TargetError, UsageError
from bnguard._models.discover import models_of
from bnguard._models.named import Namespace, parse_settings
from bnguard._targets import parse

TARGETS = Path(__file__).parents[1] / "fixtures" / "targets"
HEAD = "import torch\nfrom torch import nn\n"

Write = Callable[[str], str]


@pytest.fixture(autouse=True)
def _in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TARGETS)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write ``model.py`` into an empty working folder; the imports of torch and nn come by themselves."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "model.py").write_text(HEAD + text, encoding="utf-8")
        return "model.py"

    return write


@contextmanager
def built(text: str, *sets: str, **options):
    with models_of(parse(text), settings=parse_settings(sets), **options) as found:
        yield found


def names(text: str, *sets: str, **options) -> list[str]:
    with built(text, *sets, **options) as found:
        return [b.target for b in found]


def notes(text: str, *sets: str) -> str:
    with built(text, *sets) as found:
        return "\n".join(note for b in found for note in b.notes)


def fails(text: str, *sets: str, **options) -> BnguardError:
    with pytest.raises(BnguardError) as caught:
        names(text, *sets, **options)
    assert "\n" not in caught.value.message
    return caught.value


# ------------------------------------------------------------------------------- one named model


@pytest.mark.parametrize(
    ("text", "cls"),
    [
        ("cifar_resnet.py:ResNet6", "ResNet"),
        ("cifar_resnet.py:ResNet(BasicBlock, [1, 2], num_classes=3)", "ResNet"),
        ("cifar_resnet.py:BasicBlock(4, 8, 2)", "BasicBlock"),
        ("pointnet.py:PointNetCls(k=2)", "PointNetCls"),
        ("pointnet.py:PointNetCls().feat", "PointNetFeat"),
        ("instances.py:model", "Sequential"),
        ("factories.py:pair()[0]", "Net"),
        ("factories.py:everything()['net']", "Net"),
        ("shapes_pkg/parts/net.py:Net(3)", "Net"),
        ("shapes_pkg:Net", "Net"),
        ("shapes_pkg.parts.net:Net", "Net"),
        ("script.py:Net", "Net"),
        ("types.py:Net", "Net"),
        ("torchvision.models:resnet18", "ResNet"),
        ("torchvision.models:resnet18(weights=None)", "ResNet"),
    ],
)
def test_every_form_of_a_target(text: str, cls: str) -> None:
    with built(text) as (one,):
        assert type(one.model).__name__ == cls
        assert one.target == text
        assert all(p.is_meta for p in one.model.parameters()), "no weight takes memory"
        again = one.rebuild()
        assert type(again).__name__ == cls
        assert not any(p.is_meta for p in again.parameters())


def test_two_files_of_the_same_name() -> None:
    widths = []
    for text in ("first/model.py:Net", "second/model.py:Net", "first/model.py"):
        with built(text) as (one,):
            widths.append(one.model.bn.num_features)
    assert widths == [4, 6, 4]


def test_arguments_of_the_file_itself() -> None:
    with built("arguments.py", argv=["--width", "7"]) as (one,):
        assert one.model.bn.num_features == 7
    assert "after `--`" in fails("arguments.py").hint


def test_a_stand_in_for_a_missing_package() -> None:
    assert fails("missing_package.py").hint == "pip install it, or go on without it: --stub nowhere_to_be_found"
    stubs = ["nowhere_to_be_found"]
    assert names("missing_package.py", stubs=stubs) == ["missing_package.py:Net", "missing_package.py:Other"]
    with built("missing_package.py:Other", stubs=stubs) as (one,):
        assert one.rebuild()(torch.zeros(2, 5)).shape == (2, 5)


@pytest.mark.parametrize(
    ("source", "text", "kind", "hint"),
    [
        ("x = 3", "x", "int", "name an nn.Module"),
        ("x = (1, nn.ReLU())", "x", "tuple", "take the model out of it: model.py:x[1]"),
        ("x = {'net': nn.ReLU()}", "x", "dict", "take the model out of it: model.py:x['net']"),
        ("def f(): return nn.ReLU(), 1", "f", "tuple", "take the model out of it: model.py:f()[0]"),
        ("def f(): return nn.ReLU(), 1", "f()", "tuple", "take the model out of it: model.py:f()[0]"),
        (
            "class A:\n  def __init__(self): self.net = nn.ReLU()",
            "A",
            "A",
            "out of it: model.py:A().net",
        ),
        ("def f(): pass", "f", "NoneType", "name an nn.Module"),
        ("x = torch.zeros(1)", "x", "Tensor", "name an nn.Module"),
    ],
)
def test_no_module(write: Write, source: str, text: str, kind: str, hint: str) -> None:
    error = fails(f"{write(source)}:{text}")
    assert f"gives an object of type {kind}, not an nn.Module" in error.message
    assert hint in error.hint


def test_what_is_no_module_is_made_once(write: Write) -> None:
    write("made = []\ndef f():\n  made.append(1)\n  assert len(made) == 1, 'again'\n  return 3")
    assert "of type int" in fails("model.py:f").message


def test_a_constructor_that_raises(write: Write) -> None:
    write(
        "class Net(nn.Module):\n  def __init__(self):\n    super().__init__()\n    nn.Linear('[red]', 3)\n  forward = 0"
    )
    for text in ("model.py:Net", "model.py"):
        error = fails(text)
        assert "raised TypeError" in error.message
        assert "model.py\", line 6, in __init__\n    nn.Linear('[red]', 3)" in error.detail
        assert "torch/nn" not in error.detail


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise SystemExit(4)", "ends the program when it is loaded (sys.exit(4))"),
        ("Net()", "recurses without end"),
        ("nn.Linear(10**12, 10**12)", "raised RuntimeError"),
        ("nn.Linear(10**30, 1)", "model.py raised"),
        ("nn.Parameter(torch.ones(1)).sum().backward()", "starts to train when it is loaded (model.py, line 6: nn.Par"),
    ],
)
def test_a_constructor_that_goes_astray(write: Write, body: str, message: str) -> None:
    write(f"class Net(nn.Module):\n  def __init__(self):\n    super().__init__()\n    {body}\n")
    assert message in fails("model.py:Net").message


def test_an_interrupt_passes(write: Write) -> None:
    write("def build() -> nn.Module:\n  raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        names("model.py")


# ------------------------------------------------------------------------------------- arguments


def test_settings_are_read_as_python() -> None:
    items = ["a=3", "b=[1, 2]", "c=text", "d=", "e=true", "f=False", "g=none", "h=1e-3", "i=x=y", "j={[]: 1}"]
    assert parse_settings(items) == {
        "a": 3, "b": [1, 2], "c": "text", "d": "", "e": True, "f": False, "g": "none", "h": 1e-3, "i": "x=y",
        "j": "{[]: 1}",
    }  # fmt: skip
    assert parse_settings(["k=" + "(" * 5000])["k"] == "(" * 5000


def test_settings_of_a_namespace() -> None:
    params = parse_settings(["p.a=1", "p.b.c=2"])["p"]
    assert isinstance(params, Namespace)
    assert (params.a, params["a"], params.get("z", 5), "a" in params, params.b.c) == (1, 1, 5, True, 2)


@pytest.mark.parametrize("item", ["novalue", "=3", "1a=3", "a..b=3", "a b=3", "", ".=1"])
def test_a_setting_that_cannot_be_read(item: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings([item])
    assert caught.value.message == f"--set {item!r} cannot be read"


@pytest.mark.parametrize("items", [["a=1", "a.b=2"], ["a.b=1", "a=2"], ["a.b=1", "a.b.c=2"]])
def test_a_setting_that_is_both_value_and_namespace(items: list[str]) -> None:
    with pytest.raises(UsageError, match="both a value and attributes"):
        parse_settings(items)


def test_settings_reach_the_constructor() -> None:
    with built("cifar_resnet.py:ResNet", "block=BasicBlock", "num_blocks=[1,1]", "num_classes=3") as (one,):
        assert one.model.linear.out_features == 3
    with built("params_net.py:Net", "params.inputs=4", "params.hidden=6", "params.bias=true") as (one,):
        assert one.model.bn.num_features == 6
        assert one.model.bias is True


def test_settings_that_are_wanting() -> None:
    error = fails("params_net.py:Net")
    assert error.message == "params_net.py:Net needs the argument 'params'"
    line = "bnguard scan params_net.py:Net --set params.inputs=… --set params.hidden=… --set params.bias=…"
    assert error.hint == line
    error = fails("params_net.py:Net", "params.inputs=4")
    assert error.message == "params_net.py:Net reads params.hidden, which is not given"
    assert error.hint == "add --set params.hidden=…"
    assert fails("cifar_resnet.py:ResNet").hint.endswith("cifar_resnet.py:ResNet --set block=… --set num_blocks=…")


def test_a_setting_that_nothing_takes() -> None:
    assert fails("pointnet.py:PointNetCls", "kk=3").message == "pointnet.py:PointNetCls has no argument 'kk'"
    assert fails("pointnet.py:PointNetCls", "kk=3").hint == "did you mean k?"
    assert fails("pointnet.py:Transform", "width=3").hint == "it takes: nothing"
    assert "has no argument 'clases'" in fails("pointnet.py", "clases=3").message
    assert "nothing to act on" in fails("pointnet.py:PointNetCls()", "k=3").message
    assert "nothing to act on" in fails("instances.py:model", "k=3").message


# ----------------------------------------------------------------------------------- a whole file


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cifar_resnet.py", ["ResNet6", "ResNet10"]),
        ("pointnet.py", ["PointNetCls"]),
        ("instances.py", ["model"]),
        ("script.py", ["Net"]),
        ("shapes_pkg/parts/net.py", ["Net"]),
        ("types.py", ["Net"]),
        ("values.py", ["DropPath", "LooksAtWeights", "Tied", "Lazy"]),
    ],
)
def test_the_roots_of_a_file(text: str, found: list[str]) -> None:
    assert names(text) == [f"{text}:{name}" for name in found]


def test_a_setting_for_the_classes_that_take_it() -> None:
    with built("pointnet.py", "k=5") as (one,):
        assert one.model.fc2.out_features == 5
    assert names("factories.py", "width=3")[-1] == "factories.py:needs_width"


def test_nothing_can_be_built(write: Write) -> None:
    error = fails(path := str(TARGETS / "params_net.py"))
    assert error.message == f"no model in {path} can be built without arguments"
    assert f"  Net(params):  bnguard scan {path}:Net --set params.inputs=…" in error.hint
    write("class A(nn.Module):\n  def __init__(self, width, *, depth, heads=2): ...\n  def forward(self, x): ...")
    assert "  A(width, depth):  bnguard scan model.py:A --set width=… --set depth=…" in fails("model.py").hint


def test_what_needs_arguments_is_mentioned_beside_what_was_scanned(write: Write) -> None:
    write(
        "class Part(nn.Module):\n  def forward(self, x): return x\n"
        "class Net(nn.Module):\n  def __init__(self, cfg): ...\n  def forward(self, x): return x"
    )
    assert names("model.py") == ["model.py:Part"]
    assert notes("model.py") == (
        "not scanned, as they need arguments: Net(cfg); for example bnguard scan model.py:Net --set cfg=…"
    )
    assert notes(str(TARGETS / "cifar_resnet.py")) == "", "what the factories made is not missing"


def test_one_of_several_cannot_be_built(write: Write) -> None:
    write(
        "class Bad(nn.Module):\n  def __init__(self): raise OSError('no file')\n  def forward(self, x): ...\n"
        "class Good(nn.Module):\n  def forward(self, x): ..."
    )
    assert names("model.py") == ["model.py:Good"]
    assert "Bad could not be built and is left out: model.py raised OSError: no file" in notes("model.py")


@pytest.mark.parametrize("source", ["", "x = 3", "class A: pass\ndef f(): return 1", "loss = nn.CrossEntropyLoss()"])
def test_a_file_without_models(write: Write, source: str) -> None:
    error = fails(write(source))
    assert error.message == "model.py has no model: no nn.Module instance, class or factory"
    assert isinstance(error, TargetError)


def test_a_script_that_trains_at_import_is_stopped() -> None:
    error = fails("trains.py")
    assert error.message == (
        "trains.py starts to train when it is loaded (trains.py, line 10: loss.backward()); it was stopped there"
    )
    assert '__name__ == "__main__"' in error.hint


def test_a_module_that_is_only_a_library_has_models_too() -> None:
    with built("shapes_pkg.parts.net") as (one,):
        assert isinstance(one.model, nn.Module)


def test_a_file_that_only_imports_models(write: Write) -> None:
    error = fails(write("from torchvision.models import ResNet, resnet18\nfrom torch.nn import Linear"))
    assert error.message.startswith("model.py has no model of its own")
    assert error.hint == "name one that it imports: model.py:ResNet, model.py:resnet18"
