"""Shared by all tests: golden files with one overwrite switch, and how the suite is to run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("COLUMNS", "80")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: a second thread only waits for the other core
GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--overwrite-golden", action="store_true", help="write what is printed now as the expectation")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with ``tests/golden/NAME``; ``pytest --overwrite-golden`` takes the present text as right."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--overwrite-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} is missing: run pytest --overwrite-golden and look at it"
        assert text == path.read_text(encoding="utf-8")

    return compare
