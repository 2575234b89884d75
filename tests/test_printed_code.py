"""Every line of code that a report prints is put into the script it was printed for, which then trains through."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
HEAD = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnguard
"""
TAIL = """
def main():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    train = DataLoader(TensorDataset(torch.randn(9, 4), torch.randint(0, 2, (9,))), batch_size=4, shuffle=True)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for epoch in range(2):
        for x, y in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

main()
"""
TRAINER = """
class Trainer:
    def __init__(self):
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        self.batches = DataLoader(TensorDataset(torch.randn(17, 4)), batch_size=8)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)

    def fit(self):
        for (x,) in self.batches:
            self.optimizer.zero_grad()
            self.model(x).sum().backward()
            self.optimizer.step()

Trainer().fit()
"""
ONE_BY_ONE = """
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(6, 4)), batch_size=1)
for (x,) in loader:
    model(x).sum().backward()
"""
CHUNKS = """
class Ghost(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(4)

    def forward(self, x):
        return torch.cat([self.bn(part) for part in x.chunk(3)])

model = nn.Sequential(nn.Linear(4, 4), Ghost(), nn.Linear(4, 2))
for (x,) in DataLoader(TensorDataset(torch.randn(10, 4)), batch_size=5):
    model(x).sum().backward()
"""
ROWS = """
class Boxes(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    def forward(self, x):
        return self.head(x[x[:, 0] >= x[:, 0].max()])

model = Boxes()
for (x,) in DataLoader(TensorDataset(torch.randn(10, 4)), batch_size=5):
    model(x).sum().backward()
"""
VALIDATION = """
def validate(model, val_loader):
    for (x,) in val_loader:
        model(x)

model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
val_loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=8)
validate(model, val_loader)
"""
SCRIPTS = {
    "tail": (TAIL, {"merge-tail", "balance", "allow-single-sample"}),
    "trainer": (TRAINER, {"merge-tail", "balance", "allow-single-sample"}),
    "one-by-one": (ONE_BY_ONE, {"freeze", "allow-single-sample", "group-norm"}),
    "chunks": (CHUNKS, {"allow-single-sample"}),
    "rows": (ROWS, {"allow-single-sample"}),
    "validation": (VALIDATION, {"allow-single-sample"}),
}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT, check=False)


def calls_of(report: dict[str, Any]) -> dict[str, str]:
    """Return the lines of code in a report, by the kind of the remedy."""
    remedies = [r for finding in report["findings"] for r in finding["remedies"]]
    remedies += [*report["suggestions"], *report["diagnosis"]["remedies"]]
    return {remedy["kind"]: remedy["call"] for remedy in remedies if remedy["call"]}


def with_line(source: str, call: str) -> str:
    """Put the line below the statement that assigns what it changes."""
    (expression,) = ast.parse(call).body
    called = expression.value if isinstance(expression, (ast.Assign, ast.Expr)) else None
    assert isinstance(called, ast.Call)
    changed = ast.unparse(called.args[0])
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == changed:
            lines.insert(node.end_lineno or node.lineno, " " * node.col_offset + call)
            return "\n".join(lines)
    raise AssertionError(f"the script assigns no {changed}")


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_line_mends_its_script(name: str, tmp_path: Path) -> None:
    body, expected = SCRIPTS[name]
    script = tmp_path / "train.py"
    script.write_text(HEAD + body, encoding="utf-8")
    assert python("train.py", cwd=tmp_path).returncode == 1
    done = python("-m", "bnguard", "preflight", "--format", "json", "train.py", cwd=tmp_path)
    calls = calls_of(json.loads(done.stdout))
    assert set(calls) == expected
    for kind, call in calls.items():
        mended = tmp_path / f"{kind}.py"
        mended.write_text(with_line(HEAD + body, call), encoding="utf-8")
        result = python(mended.name, cwd=tmp_path)
        assert result.returncode == 0, (call, result.stderr)
