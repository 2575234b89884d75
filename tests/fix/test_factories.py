"""Loaders that come out of functions: seen through in one file, and in several that are given together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bnguard._fix import Declared, Proposal, decide, proposal_of, read

Together = Callable[..., dict[str, Proposal]]

MAKE = """from torch.utils.data import DataLoader


def make(data, size=8, shuffle=False, drop_last=False):
    return DataLoader(data, size, shuffle=shuffle, drop_last=drop_last)
"""


@pytest.fixture
def together(tmp_path: Path) -> Together:
    def proposes(files: dict[str, str], train: tuple[str, ...] = ()) -> dict[str, Proposal]:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        readings = [read(tmp_path / name) for name in files]
        decisions = decide(readings, Declared(train))
        return {name: proposal_of(r, decisions[r]) for name, r in zip(files, readings, strict=True)}

    return proposes


def fixed(proposals: dict[str, Proposal]) -> list[str]:
    return [f"{name}:{edit.line}" for name, p in proposals.items() for edit in p.edits]


IMPORTS = [
    ("data.py", "from data import make\n", "make"),
    ("data.py", "import data\n", "data.make"),
    ("data.py", "from data import make as m\n", "m"),
    ("data.py", "from .data import make\n", "make"),
    ("pkg/data.py", "from pkg.data import make\n", "make"),
    ("pkg/data.py", "import pkg.data as d\n", "d.make"),
    ("pkg/__init__.py", "from pkg import make\n", "make"),
]


@pytest.mark.parametrize(("home", "imports", "called"), IMPORTS)
def test_a_function_of_another_file(together, home, imports, called):
    files = {"train.py": f"{imports}train_loader = {called}(train_set)\n", home: MAKE}
    assert fixed(together(files)) == [f"{home}:5"]
    (edit,) = together(files)[home].edits
    assert edit.reason.startswith("feeds training (make() is called in ")
    assert "train.py:2" in edit.reason


def test_alone_neither_file_says_enough(together):
    assert fixed(together({"data.py": MAKE})) == []
    assert fixed(together({"train.py": "from data import make\ntrain_loader = make(train_set)\n"})) == []


def test_another_module_of_that_name_is_not_meant(together):
    files = {"train.py": "from other import make\ntrain_loader = make(train_set)\n", "data.py": MAKE}
    assert fixed(together(files)) == []


def test_for_both_it_is_fixed_where_it_is_called(together):
    train = "from data import make\ntrain_loader = make(train_set)\nval_loader = make(val_set)\n"
    proposals = together({"train.py": train, "data.py": MAKE})
    assert fixed(proposals) == ["train.py:2"]
    assert "train_loader = bnguard.repair.merge_tail(make(train_set))\n" in proposals["train.py"].new
    again = together({"train.py": proposals["train.py"].new, "data.py": MAKE})
    assert fixed(again) == []


@pytest.mark.parametrize(
    ("call", "word"),
    [
        ("make(train_set, drop_last=True)", "drop_last=True"),
        ("make(train_set, 1)", "batch_size=1"),
        ("make(train_set, size=1)", "batch_size=1"),
        ("make(range(16))", "16 samples in batches of 8 end with 8"),
        ("make(range(16), 8)", "16 samples in batches of 8 end with 8"),
    ],
)
def test_what_it_is_called_with_counts(together, call, word):
    train = f"from data import make\ntrain_loader = {call}\nval_loader = make(val_set)\n"
    proposals = together({"train.py": train, "data.py": MAKE})
    assert fixed(proposals) == []
    assert word in next(left for left in proposals["train.py"].left if left.line == 2).reason


def test_evaluation_alone(together):
    proposals = together({"train.py": "from data import make\nval_loader = make(val_set)\n", "data.py": MAKE})
    assert fixed(proposals) == []
    assert "feeds evaluation (make() is called in " in proposals["data.py"].left[0].reason


@pytest.mark.parametrize(
    "body",
    [
        "return DataLoader(a, 8), DataLoader(b, 8)",
        "first = DataLoader(a, 8)\n    second = DataLoader(b, 8)\n    return first, second",
    ],
)
def test_several_at_once(together, body):
    home = f"from torch.utils.data import DataLoader\ndef make(a, b):\n    {body}\n"
    proposals = together({"train.py": "from data import make\ntrain_dl, val_dl = make(x, y)\n", "data.py": home})
    assert fixed(proposals) == ["data.py:3"]
    assert "merge_tail(DataLoader(a, 8))" in proposals["data.py"].new


def test_in_one_file_and_in_a_class(together):
    text = f"{MAKE}\n\ntrain_loader = make(train_set)\nval_loader = make(val_set)\n"
    assert fixed(together({"train.py": text})) == ["train.py:8"]
    text = (
        "from torch.utils.data import DataLoader\n\nclass Data:\n    def make(self, data):\n"
        "        return DataLoader(data, 8)\n    def train_dataloader(self):\n        return self.make(self.a)\n"
        "    def val_dataloader(self):\n        return self.make(self.b)\n"
    )
    proposals = together({"train.py": text})
    assert fixed(proposals) == ["train.py:7"]
    assert "return bnguard.repair.merge_tail(self.make(self.a))\n" in proposals["train.py"].new


def test_a_function_with_two_loaders_is_not_guessed_about(together):
    home = (
        "from torch.utils.data import DataLoader\ndef make(x, big):\n    if big:\n        return DataLoader(x, 64)\n"
        "    return DataLoader(x, 8)\n"
    )
    train = "from data import make\ntrain_loader = make(a, True)\nval_loader = make(b, False)\n"
    assert fixed(together({"train.py": train, "data.py": home})) == []


class TestWhatIsDoneWithIt:
    HEAD = "from torch.utils.data import DataLoader\nloader = DataLoader(data, 8)\n"

    @pytest.mark.parametrize(
        "use",
        [
            "for x in loader:\n    model(x).sum().backward()\n",
            "for i, x in enumerate(loader):\n    loss.backward()\n",
            "for epoch in range(3):\n    for x in tqdm(loader, leave=False):\n        accelerator.backward(loss)\n",
            "train(model, loader)\n",
            "trainer.fit(model, loader)\n",
            "fit(model, train_dataloaders=loader)\n",
            "def run(model, data):\n    for x in data:\n        loss.backward()\nrun(model, loader)\n",
            "def run(model, *, data):\n    for x in data:\n        loss.backward()\nrun(model, data=loader)\n",
            "evaluate(model, loader)\ntrain_one_epoch(model, loader)\n",
        ],
    )
    def test_training(self, proposed, use):
        assert proposed(self.HEAD + use).edits

    @pytest.mark.parametrize("use", ["evaluate(model, loader)\n", "validate(loader=loader)\n"])
    def test_evaluation(self, proposed, use):
        (left,) = proposed(self.HEAD + use).left
        assert left.reason.startswith("feeds evaluation (it is given to ")

    @pytest.mark.parametrize(
        "use",
        [
            "for x in loader:\n    model(x)\n",
            "trainer.fit(model, other, loader)\n",
            "def f(loader):\n    for x in loader:\n        loss.backward()\nf(other)\n",
            "def run(model, data):\n    for x in data:\n        loss.backward()\nrun(loader, other)\n",
            "def run(*data):\n    for x in data:\n        loss.backward()\nrun(*loader)\n",
        ],
    )
    def test_nothing_is_said(self, proposed, use):
        (left,) = proposed(self.HEAD + use).left
        assert left.asks

    def test_an_attribute(self, proposed):
        text = (
            "from torch.utils.data import DataLoader\nclass T:\n    def __init__(self):\n"
            "        self.loader = DataLoader(data, 8)\n    def fit(self):\n        for x in self.loader:\n"
            "            loss.backward()\n"
        )
        assert proposed(text).edits
        other = text.replace("    def fit", "class U:\n    def fit")
        assert not proposed(other).edits
