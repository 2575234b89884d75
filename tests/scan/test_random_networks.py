"""Random networks: what a scan says of them is what a real call does."""

from __future__ import annotations

import pytest
from random_networks import WRONG, compare


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", range(0, 20, 10))
def test_random_networks(start: int) -> None:
    rows = [row for seed in range(start, start + 10) for row in compare(seed)]
    assert [row for row in rows if row.verdict in WRONG] == []
    assert sum(row.verdict == "agrees" for row in rows) > len(rows) / 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", range(20, 140, 20))
def test_many_random_networks(start: int) -> None:
    assert [row for seed in range(start, start + 20) for row in compare(seed) if row.verdict in WRONG] == []
