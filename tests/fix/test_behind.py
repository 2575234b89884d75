"""The command to go on with after a failure, from the lines of its traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnguard._fix.told.failures import Line, next_command

DATA = "import torch\nfrom torch.utils.data import DataLoader, TensorDataset\nds = TensorDataset(torch.randn(17, 4))\n"


@pytest.fixture
def after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What comes after a failure in the lines marked ``# 1``, ``# 2`` …, the outermost first."""
    monkeypatch.chdir(tmp_path)

    def command(text: str, *args: str, head: str = DATA) -> str | None:
        (tmp_path / "train.py").write_text(head + text)
        places = {}
        for i, line in enumerate((head + text).splitlines(), 1):
            if "# " in line:
                places[line.rpartition("# ")[2]] = i
        lines = [Line(str(tmp_path / "train.py"), places[n], "<module>" if n == "1" else "f") for n in sorted(places)]
        return next_command([*lines, Line("/lib/site-packages/torch/nn.py", 3, "forward")], args)

    return command


KNOWN = [
    "loader = DataLoader(ds, 8)\nfor (x,) in loader:\n    model(x)  # 1\n",
    "loader = DataLoader(ds, 8)\nfor i, (x,) in enumerate(tqdm(loader)):\n    model(x)  # 1\n",
    "loader = DataLoader(ds, 8)\nfor epoch in range(3):\n    for (x,) in loader:\n        model(x)  # 1\n",
    "def f(batches):\n    for (x,) in batches:\n        model(x)  # 2\nloader = DataLoader(ds, 8)\nf(loader)  # 1\n",
    "def f(*, dl):\n    for (x,) in dl:\n        model(x)  # 2\nloader = DataLoader(ds, 8)\nf(dl=loader)  # 1\n",
]


@pytest.mark.parametrize("text", KNOWN)
def test_the_edit_where_the_loader_and_its_tail_are_known(after, text):
    assert after(text) in ("bnguard fix train.py --write", f"bnguard fix train.py --train {text_line(text)} --write")


def text_line(text: str) -> int:
    return next(i for i, line in enumerate((DATA + text).splitlines(), 1) if line.startswith("loader ="))


NOT_KNOWN = [
    "loader = DataLoader(make(), 8)\nfor (x,) in loader:\n    model(x)  # 1\n",  # how many, only running it tells
    "loader = DataLoader(ds, 4)\nloader = DataLoader(ds, 8)\nfor (x,) in loader:\n    model(x)  # 1\n",
    "loader = DataLoader(ds, 8)\nfor (x,) in other:\n    model(x)  # 1\n",
    "loader = DataLoader(ds, 8)\nmodel(x)  # 1\n",
    "loader = DataLoader(ds, 1)\nfor (x,) in loader:\n    model(x)  # 1\n",
    "loader = DataLoader(ds, 9)\nfor (x,) in loader:\n    model(x)  # 1\n",
    "for (x,) in loader:\n    model(x)  # 1\n",
]


@pytest.mark.parametrize("text", NOT_KNOWN)
def test_else_the_forecast_that_finds_out(after, text):
    assert after(text) == "bnguard preflight train.py"
    assert after(text, "--lr", "a b") == "bnguard preflight train.py -- --lr 'a b'"


def test_without_the_file_nothing(tmp_path):
    assert next_command([Line(str(tmp_path / "gone.py"), 3, "<module>")]) is None
    assert next_command([]) is None


def test_a_file_that_cannot_be_read_is_run(after):
    assert after("print 'a'\nmodel(x)  # 1\n") == "bnguard preflight train.py"
