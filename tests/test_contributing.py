"""The steps of CONTRIBUTING.md, followed in a copy of the package: each touches one file, and is everywhere at once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(title: str) -> list[str]:
    """The pieces of code below a title."""
    section = re.split(r"^## ", PAGE.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "bnguard", tmp_path / "bnguard", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(copy: Path, *argv: str) -> str:
    """What Python prints, called in the copy with its own package."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, *argv],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=copy,
        env=environment,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout


def bnguard(copy: Path, *argv: str) -> str:
    return run(copy, "-m", "bnguard", *argv)


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


EXAMPLE = """
import bnguard, torch
from torch.utils.data import DataLoader, TensorDataset
from bnguard._rules import CATALOGUE
for code in (CATALOGUE.get("DL109").example.wrong, CATALOGUE.get("DL109").example.right):
    exec(code)
    print("DL109" in {f.code for f in bnguard.audit_loader(train_loader).findings})
"""


def test_a_rule(copy: Path) -> None:
    check, rule = blocks("Add a rule")
    path = copy / "bnguard/_rules/epochs.py"
    edit(path, ("RULES: list[Rule] = [\n", f"{check}\n\nRULES: list[Rule] = [\n"))
    path.write_text(f"{path.read_text(encoding='utf-8').rstrip().removesuffix(']')}{rule}]\n", encoding="utf-8")
    eight = ("audit-loader", "--n", "8", "--bs", "8")
    assert "note DL109  train: all 8 samples are one batch" in bnguard(copy, *eight)
    assert '"ruleId": "DL109"' in bnguard(copy, *eight, "--format", "sarif", "--select", "DL109")
    assert "DL109  note     a training epoch is a single batch" in bnguard(copy, "rules")
    assert "after ten epochs" in " ".join(bnguard(copy, "explain", "one-step-epoch").split())
    assert run(copy, "-c", EXAMPLE).split() == ["True", "False"]


def test_a_kind(copy: Path) -> None:
    entry, table = blocks("Add a kind of normalisation")
    edit(
        copy / "bnguard/_facts/norm_kinds.py",
        ("KINDS = NormKinds([BATCH, GROUP, INSTANCE, HAND_WRITTEN])\n", f"\n{entry}\n{table}"),
    )
    net = "from torch import nn\nmodel = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.BatchNorm1d(6))\n"
    (copy / "net.py").write_text(net, encoding="utf-8")
    scan = ("scan", "net.py:model", "--input", "4", "--batch-size", "4")
    assert re.search(r"1 +LayerNorm\(6\) +6 values +ok", bnguard(copy, *scan))
    assert "LayerNorm" in bnguard(copy, *scan, "--format", "html")


def test_a_format(copy: Path) -> None:
    (module,) = blocks("Add a format")
    (copy / "bnguard/_report/formats/csv.py").write_text(module, encoding="utf-8")
    nine = ("audit-loader", "--n", "9", "--bs", "8")
    printed = bnguard(copy, *nine, "--format", "csv")
    assert printed.startswith("DL101,error,train: step 2 of 2 holds 1 sample (9 samples are 1 × 8 + 1)")
    bnguard(copy, *nine, "--output", "report.csv")
    assert (copy / "report.csv").read_text(encoding="utf-8").splitlines() == printed.splitlines()
