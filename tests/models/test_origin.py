"""The line of the user's code that created each layer."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import bnguard
from bnguard._models.origin import Origins, assignment_line, recording
from bnguard._targets import load_object

TARGETS = Path(__file__).parents[1] / "fixtures" / "targets"


@pytest.fixture(autouse=True)
def _in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TARGETS)


def words(report, file: str = "creation.py") -> dict[str, str]:
    """Return for each layer the comment on the line that is said to have created it."""
    lines = Path(file).read_text().splitlines()
    found = {}
    for layer in report.models[0].layers:
        assert layer.source is not None, layer.name
        assert layer.source.file == file
        found[layer.name] = lines[layer.source.line - 1].partition("# ")[2]
    return found


def test_a_model_built_for_the_scan() -> None:
    assert words(bnguard.scan("creation.py:Net", (4,))) == {
        "direct": "direct",
        "block.1": "in a Sequential",
        "nested.0.1": "nested",
        "helped": "helper",
        "sub": "subclass",
        "own": "own",
        "added": "added",
        "first": "unpacked",
    }


def test_a_model_built_before_the_scan() -> None:
    net = load_object("creation.py:Net()")
    assert words(bnguard.scan(net, (4,))) == {
        "direct": "direct",
        "block.1": "in a Sequential",
        "nested.0.1": "nested",
        "helped": "helped",
        "sub": "subclass",
        "own": "own",
        "added": "added",
        "first": "unpacked",
    }


def test_a_layer_that_a_library_builds_is_the_users_line() -> None:
    assert set(words(bnguard.scan("creation.py:Vision", (3, 64, 64))).values()) == {"torchvision"}


def test_a_model_that_comes_to_life_with_the_import() -> None:
    layer = bnguard.scan("instances.py:model", (3, 8, 8)).models[0].layers[0]
    assert str(layer.source) == "instances.py:5"


def test_a_package_with_relative_imports() -> None:
    layer = bnguard.scan("shapes_pkg/parts/net.py").models[0].layers[0]
    assert str(layer.source) == "shapes_pkg/parts/blocks.py:7"


def test_an_installed_library_alone() -> None:
    layer = bnguard.scan("torchvision.models:resnet18", (3, 64, 64)).models[0].layers[0]
    assert layer.source is not None
    assert layer.source.file.endswith("torchvision/models/resnet.py")


# ------------------------------------------------------------------- lines read from the source


class Holder(nn.Module):
    def __init__(self, deep: bool = False) -> None:
        super().__init__()
        self.choice = nn.Identity()
        if deep:
            self.choice = nn.BatchNorm1d(4)  # choice
        self.later = None
        self.listed = nn.ModuleList(
            [
                nn.BatchNorm1d(4),  # listed 0
                nn.BatchNorm1d(4),  # listed 1
            ]
        )
        self.keyed = nn.ModuleDict(
            {
                "a": nn.ReLU(),
                "b": nn.BatchNorm1d(4),  # keyed b
            }
        )
        self.many = nn.ModuleList([nn.BatchNorm1d(4) for _ in range(3)])  # many
        self.holes = nn.Sequential(*[nn.ReLU()], nn.BatchNorm1d(4))  # holes
        self.one: nn.Module = nn.BatchNorm1d(4)  # annotated
        self.head = nn.Linear(4, 4)


class Child(Holder):
    def __init__(self) -> None:
        super().__init__(deep=True)
        self.own = nn.BatchNorm1d(4)  # child


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("choice", "choice"),
        ("listed.0", "listed 0"),
        ("listed.1", "listed 1"),
        ("keyed.b", "keyed b"),
        ("many.2", "many"),
        ("holes.1", "holes"),
        ("one", "annotated"),
        ("own", "child"),
    ],
)
def test_the_line_that_assigns(name: str, word: str) -> None:
    line = assignment_line(Child(), name)
    assert line is not None
    assert Path(line.file).read_text().splitlines()[line.line - 1].partition("# ")[2] == word


def test_no_line_where_something_else_took_the_place() -> None:
    net = Child()
    net.head = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    net.later = nn.BatchNorm1d(4)
    assert assignment_line(net, "head.1") is None
    assert assignment_line(net, "later") is None
    assert assignment_line(nn.BatchNorm1d(4), "") is None
    assert assignment_line(nn.Sequential(nn.BatchNorm1d(4)), "0") is None
    assert assignment_line(net, "no.such.layer") is None


def test_a_class_without_source() -> None:
    space = {"nn": nn, "__name__": "made"}
    source = "class Net(nn.Module):\n def __init__(self):\n  super().__init__()\n  self.bn = nn.BatchNorm1d(4)\n"
    exec(f"{source} def forward(self, x): return self.bn(x)", space)
    assert assignment_line(space["Net"](), "bn") is None
    assert bnguard.scan(space["Net"](), (4,)).models[0].first_failure == "bn"


def test_only_what_was_built_within_the_block_is_recorded() -> None:
    origins = Origins()
    before = nn.BatchNorm1d(4)
    with recording(origins):
        within = nn.LazyBatchNorm1d()
        group = nn.GroupNorm(1, 4)
        synced = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(before))[0]
        copied = copy.deepcopy(group)
    after = nn.InstanceNorm1d(4)
    assert [origins.find(m) is not None for m in (within, group, synced)] == [True] * 3
    assert [origins.find(m) for m in (before, after, copied)] == [None] * 3
    assert torch.is_tensor(before.running_mean)
