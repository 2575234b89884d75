"""Moments in pieces: as PyTorch has them of the whole."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnguard.repair._statistics.moments import Moments, together


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 1),
    space=st.sampled_from([(), (3,), (2, 3)]),
    far=st.sampled_from([0.0, 1e4, -1e8]),
    seed=st.integers(0, 2**16),
)
def test_any_cut_gives_the_moments_of_the_whole(sizes, space, far, seed):
    x = torch.randn(sum(sizes), 3, *space, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + far
    found = together([None, *map(Moments.of, x.split(sizes)), None])
    dims = (0, *range(2, x.dim()))
    assert found is not None
    assert found.count == x.numel() // 3
    # relative to the values: what a double can tell apart at that distance from zero
    torch.testing.assert_close(found.mean, x.mean(dims), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found.variance, x.var(dims), rtol=1e-6, atol=0)


def test_of_nothing_there_is_none():
    assert together([None]) is None
    assert not Moments.of(torch.tensor([[1.0], [float("nan")]])).finite
    assert not Moments.of(torch.tensor([[1.0], [float("inf")]])).finite
    assert Moments.of(torch.full((2, 1), 6e4, dtype=torch.float16)).finite
