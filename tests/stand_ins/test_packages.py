"""Stand-ins for packages that are not installed."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from torch import nn

from bnguard._stand_ins import StandIns, StoodIn, standing_in
from bnguard._stand_ins.packages import missing, stubbed


@pytest.fixture
def stub():
    with stubbed(["nowhere"]):
        yield importlib.import_module("nowhere")
    assert not [n for n in sys.modules if n.partition(".")[0] == "nowhere"]


def test_any_name_below_can_be_imported(stub) -> None:
    deep = importlib.import_module("nowhere.a.b")
    assert deep.Thing is deep.Thing
    assert stub.a.b is deep
    assert stub.__version__ < "2"


def test_another_package_is_still_missing(stub) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("nowhere_else")


def test_a_decorator_leaves_what_it_decorates(stub) -> None:
    def function() -> int:
        return 3

    class Net(nn.Module):
        pass

    assert stub.jit(function) is function
    assert stub.REGISTRY.register_module()(Net) is Net
    assert stub.jit(static=True)(function) is function
    assert stub.Registry("name").register(Net) is Net


def test_a_base_class_can_be_subclassed_beside_a_module(stub) -> None:
    class Net(stub.Mixin, nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.fc = nn.Linear(width, 1)

        def forward(self, x):
            return self.fc(x)

    class Plain(stub.Base):
        def __init__(self, function) -> None:
            self.function = function

    assert Net(4)(torch.zeros(2, 4)).shape == (2, 1)
    assert isinstance(Plain(len), Plain), "a subclass is built, not taken for a decorator"


def test_a_class_called_module_is_a_base_for_models(stub) -> None:
    class Net(stub.LightningModule):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.bn = nn.BatchNorm1d(width)

    net = Net(4)
    assert isinstance(net, nn.Module)
    assert [n for n, _ in net.named_modules()] == ["", "bn"]
    assert not hasattr(net, "_private")


def test_instances_answer_for_everything(stub) -> None:
    thing = stub.config.model()
    assert not thing
    assert list(thing) == []
    with thing.scope("forward") as scope:
        assert scope.any.thing() is not None
    assert not hasattr(thing, "__array__")


def test_an_installed_package_with_a_missing_part() -> None:
    with stubbed(["torch.utils.no_such_part"]):
        from torch.utils.no_such_part import anything

        assert anything() is not None
    assert not hasattr(torch.utils, "no_such_part")
    assert "torch.utils.no_such_part" not in sys.modules


def test_without_names_nothing_happens() -> None:
    before = list(sys.meta_path)
    with stubbed([]):
        assert sys.meta_path == before


def test_removed_after_an_error() -> None:
    before = list(sys.meta_path)
    with pytest.raises(AttributeError), stubbed(["nowhere"]):
        getattr(importlib.import_module("nowhere.part"), "__no_such_name__")  # noqa: B009 - it raises
    assert sys.meta_path == before
    assert "nowhere" not in sys.modules


def test_what_was_asked_for_is_told_and_nothing_else() -> None:
    with standing_in(StandIns(("nowhere", "unused"))) as found:
        importlib.import_module("nowhere.a")
        importlib.import_module("nowhere.b")
    assert found == [StoodIn("nowhere", "a stand-in for the package")]


def test_a_package_and_a_part_of_one_are_missing_in_different_ways() -> None:
    assert missing("nowhere.a") == (
        "'nowhere', which is not installed",
        "pip install it, or go on without it: --stub nowhere",
    )
    assert missing("torch.nowhere")[0] == "'torch.nowhere', which its package does not have"
