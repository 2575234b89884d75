"""Whether a loop counts its batches, told from its source and from what stands between it and the loader."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bnguard._preflight.loops import Enumerate, doubt

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
    "next": "it = iter(loader)\nfor _ in range(2): x = next(it)",
    "islice": "for x in itertools.islice(loader, 2): pass",
    "hidden_islice": "it = itertools.islice(loader, 2)\nfor x in it: pass",
    "zip": "for x, i in zip(loader, range(2)): pass",
    "and": "for i, x in enumerate(loader): i % 3 == 0 and evaluate(x)",
    "in_a_function": "n = 0\ndef one(x):\n    global n\n    n += 1\n    if n > 9: sys.exit()\nfor x in loader: one(x)",
}
HEAD = """import itertools, math, sys, time
from unittest.mock import MagicMock
opt, evaluate, stopping = MagicMock(), MagicMock(), False
"""


class Loader:
    """Asks about the loop at its first batch, as a recorder does."""

    def __init__(self) -> None:
        self.said: str | None = "never asked"
        self.left = 4

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.said == "never asked":
            self.said = doubt(sys._getframe(1), self)
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


def said_of(code: str, folder: Path) -> str | None:
    file = folder / "train.py"
    file.write_text(HEAD + code + "\n", encoding="utf-8")
    loader = Loader()
    scope: dict[str, Any] = {"loader": loader, "__name__": "__main__"}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), scope)
    return loader.said


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_loops_that_take_what_comes(name: str, tmp_path: Path) -> None:
    assert said_of(PLAIN[name], tmp_path) is None


@pytest.mark.parametrize("name", sorted(COUNTING))
def test_loops_that_count(name: str, tmp_path: Path) -> None:
    said = said_of(COUNTING[name], tmp_path)
    assert said is not None
    assert said.startswith("the script")


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
