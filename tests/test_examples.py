"""Each example prints what it says it prints, and the command in its first lines works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bnguard

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(p.stem for p in EXAMPLES.glob("*.py"))
FIRST_FAILURE = {
    "batchnorm_from_scratch": None,
    "deeplab_aspp": "aspp.pooling.project.1",
    "frozen_backbone": None,
    "nine_samples": "norm",
    "pointnet": "transform.matrix.1",
    "resnet18_gradcam": "head.2",
}


@pytest.mark.parametrize("name", NAMES)
def test_it_prints_what_is_expected(name: str) -> None:
    expected = (EXAMPLES / "expected" / f"{name}.txt").read_text(encoding="utf-8")
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=EXAMPLES.parent)
    assert (result.returncode, result.stdout) == (0, expected), result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_scan_of_the_file_finds_its_root_model(name: str) -> None:
    (model,) = bnguard.scan(str(EXAMPLES / f"{name}.py")).models
    assert model.first_failure == FIRST_FAILURE[name]
    assert all(x.source and x.source.file == f"examples/{name}.py" for x in model.layers)
    assert model.method == "meta"
