"""Random loaders: what is foreseen of one is what a real epoch does."""

from __future__ import annotations

import pytest
from random_loaders import WRONG, compare


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", range(0, 150, 50))
def test_random_loaders(start: int) -> None:
    rows = [compare(seed) for seed in range(start, start + 50)]
    assert [row for row in rows if row.verdict in WRONG] == []
    assert sum(row.verdict == "not known" for row in rows) <= 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", range(150, 1350, 200))
def test_many_random_loaders(start: int) -> None:
    assert [row for seed in range(start, start + 200) if (row := compare(seed)).verdict in WRONG] == []
