"""Ways out: what is proposed for batches of one sample leaves none, in a real epoch."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader

import bnguard
from bnguard._rules.ways_out import for_batches_of_one


@pytest.mark.parametrize("samples", [2, 3, 4, 5, 7, 9, 13, 25, 61])
def test_the_batch_size_that_is_proposed_leaves_no_lone_sample(samples: int) -> None:
    first = next(for_batches_of_one(samples=samples)).does
    size = int(first.removeprefix("raise batch_size to "))
    batches = DataLoader(range(samples), batch_size=size)  # type: ignore[arg-type]
    assert min(len(batch) for batch in batches) > 1
    (finding,) = bnguard.audit_loader(n=samples, batch_size=1).findings
    assert finding.remedies[0].does == first


@pytest.mark.parametrize(("samples", "world_size"), [(None, 1), (1, 1), (9, 2)])
def test_where_no_size_is_known_none_is_named(samples: int | None, world_size: int) -> None:
    first = next(for_batches_of_one(samples=samples, world_size=world_size)).does
    assert first == "raise batch_size so that no batch, tail included, holds one sample"
