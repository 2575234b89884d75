"""Whether a loop counts its batches, told from its source and from what stands between it and the loader."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bnguard._preflight.batches import Enumerate
from bnguard._preflight.loops import doubt, gathers

PLAIN = {
    "loop": "for x in loader: pass",
    "prints": "for i, x in enumerate(loader):\n    if i % 100 == 0: print(i, x)",
    "accumulates": "for i, x in enumerate(loader):\n    if (i + 1) % 4 == 0: opt.step(); opt.zero_grad()",
    "skips": "for x in loader:\n    if len(x) < 2: continue",
    "ends_at_nan": "for x in loader:\n    loss = x\n    if not math.isfinite(loss): sys.exit(1)",
    "comprehension": "found = [x for x in loader]",
    "generator": "total = sum(x for x in loader)",
    "adds_up": "total = 0\nfor x in loader:\n    total += 1.5 * x.item()\n    if total > 3: print(total)",
    "wrapped": "def ahead(it):\n    for x in it: yield x\nfor x in ahead(loader): pass",
    "epochs": "for epoch in range(3):\n    for x in loader: pass\n    if epoch == 1: break",
}
COUNTING = {
    "breaks": "for i, x in enumerate(loader):\n    if i == 3: break",
    "counter": "step = 0\nfor x in loader:\n    step += 1\n    if step > 3: break",
    "computed": "step = 0\nfor x in loader:\n    step += 1\n    done = step > 3\n    if done: break",
    "evaluates": "for i, x in enumerate(loader):\n    if i % 3 == 0: evaluate(x)",
    "clock": "for x in loader:\n    if time.time() > 3: break",
    "flag": "for x in loader:\n    if stopping: break",
    "adds_one": "step = 0\nfor x in loader:\n    step = step + 1\n    if step == 3: break",
    "walrus": "step = 0\nfor x in loader:\n    if (step := step + 1) % 3 == 0: evaluate(x)",
    "in_a_dict": "s = {0: 0}\nfor x in loader:\n    s[0] += 1\n    if s[0] == 3: evaluate(x)",
    "match": "for i, x in enumerate(loader):\n    match i:\n        case 3: evaluate(x)",
    "own_save": "def save(x): evaluate(x)\nfor i, x in enumerate(loader):\n    if i == 3: save(x)",
    "zip_longest": "for x, y in itertools.zip_longest(loader, range(2)): pass",
    "next": "it = iter(loader)\nfor _ in range(2): x = next(it)",
    "islice": "for x in itertools.islice(loader, 2): pass",
    "hidden_islice": "it = itertools.islice(loader, 2)\nfor x in it: pass",
    "zip": "for x, i in zip(loader, range(2)): pass",
    "and": "for i, x in enumerate(loader): i % 3 == 0 and evaluate(x)",
    "in_a_function": "n = 0\ndef one(x):\n    global n\n    n += 1\n    if n > 9: sys.exit()\nfor x in loader: one(x)",
}
GATHERING = {
    "appends": "kept = []\nfor x in loader: kept.append(torch.ones(2))",
    "comprehension": "kept = [torch.ones(2) for x in loader]",
    "list": "kept = list(loader)",
    "dict": "kept = {}\nfor x in loader: kept[x] = torch.ones(2)",
    "adds_a_list": "kept = []\nfor x in loader: kept += [torch.ones(2)]",
    "joins": "kept = torch.ones(0)\nfor x in loader: kept = torch.cat([kept, torch.ones(2)])",
    "in_a_function": "kept = []\ndef keep(x): kept.append(torch.ones(2))\nfor x in loader: keep(x)",
    "in_an_object": "class K:\n    kept = []\n    def keep(self, x): self.kept.append(torch.ones(2))\n"
    "k = K()\nfor x in loader: k.keep(x)",
    "pushes": "for x in loader: memory.push(x, torch.ones(2))",
    "writes": "for x in loader: file.write(str(x))",
}
KEEPING_NUMBERS = {
    "losses": "losses = []\nfor x in loader: losses.append(x.item())",
    "losses_as_tensors": "losses = []\nfor x in loader: losses.append(torch.tensor(0.5))",
    "history": "history = {}\nfor x in loader: history[x] = 0.5",
    "rows_of_numbers": "rows = []\nfor x in loader: rows.append((x.item(), 0.5, 'train'))",
    "meter": "for x in loader: memory.update(x.item(), len(x))",
    "counts": "n = 0\nfor x in loader: n += len(x)",
    "sums": "kept = torch.zeros(2)\nfor x in loader: kept += torch.ones(2)",
    "generator": "total = sum(x.item() for x in loader)",
    "averaged_model": "ema = torch.nn.Linear(1, 1)\nfor x in loader: memory.update(ema)",
    "log": "for x in loader: file.write(f'{x}')",
    "nothing": "for x in loader: pass",
}
HEAD = """import itertools, math, sys, time
from unittest.mock import MagicMock
import torch
opt, evaluate, stopping, memory, file = MagicMock(), MagicMock(), False, MagicMock(), MagicMock()
"""


class Loader:
    """Asks about the loop at its first batch, and once one was used about what is kept, as a recorder does."""

    def __init__(self) -> None:
        self.said: str | None = "never asked"
        self.gathers = False
        self.left = 4

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.said == "never asked":
            self.said = doubt(sys._getframe(1), self)
        elif self.left == 3:
            self.gathers = gathers(sys._getframe(1))
        self.left -= 1
        if self.left <= 0:
            self.left = 4
            raise StopIteration
        return Item(self.left)


class Item(int):
    def __len__(self) -> int:
        return int(self)

    def item(self) -> int:
        return int(self)


def looped(code: str, folder: Path) -> Loader:
    file = folder / "train.py"
    file.write_text(HEAD + code + "\n", encoding="utf-8")
    loader = Loader()
    scope: dict[str, Any] = {"loader": loader, "__name__": "__main__"}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), scope)
    return loader


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_loops_that_take_what_comes(name: str, tmp_path: Path) -> None:
    assert looped(PLAIN[name], tmp_path).said is None


@pytest.mark.parametrize("name", sorted(COUNTING))
def test_loops_that_count(name: str, tmp_path: Path) -> None:
    said = looped(COUNTING[name], tmp_path).said
    assert said is not None
    assert said.startswith("the script")


@pytest.mark.parametrize("name", sorted(GATHERING))
def test_loops_that_gather_rows(name: str, tmp_path: Path) -> None:
    assert looped(GATHERING[name], tmp_path).gathers


@pytest.mark.parametrize("name", sorted(KEEPING_NUMBERS))
def test_loops_that_keep_numbers(name: str, tmp_path: Path) -> None:
    assert not looped(KEEPING_NUMBERS[name], tmp_path).gathers


def test_enumerate_counts_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Enumerate, "left_out", 0)

    def batches() -> Iterator[str]:
        yield "first"
        Enumerate.left_out += 7
        yield "last"

    assert list(Enumerate(batches())) == [(0, "first"), (8, "last")]
    assert list(Enumerate("ab", start=1)) == [(1, "a"), (2, "b")]
    assert isinstance(Enumerate("ab"), Enumerate)
    assert isinstance(enumerate("ab"), Enumerate)
