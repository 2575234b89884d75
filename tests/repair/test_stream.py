"""``merge_tail`` over an IterableDataset: each worker merges the tail of its own stream."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repair.loaders import Sized, Stream, samples, sizes
from torch.utils.data import DataLoader, get_worker_info

from bnguard._errors import RepairError
from bnguard.repair import balance, merge_tail


@given(n=st.integers(0, 40), size=st.integers(2, 6), min_size=st.integers(2, 3))
@settings(max_examples=150, deadline=None)
def test_a_stream_merges_its_tail(n, size, min_size):
    if size < min_size:
        return
    fixed = merge_tail(DataLoader(Stream(n), batch_size=size, drop_last=True), min_size)
    if 0 < n < min_size:
        with pytest.raises(RepairError, match=r"the stream yields . samples? in an epoch"):
            list(fixed)
        return
    got = [batch.tolist() for batch in fixed]
    assert [i for b in got for i in b] == list(range(n))
    assert all(min_size <= len(b) < size + min_size for b in got)


def test_workers_of_an_iterable_dataset():
    for n in (18, 20, 21, 26):
        fixed = merge_tail(DataLoader(Stream(n), batch_size=4, num_workers=2, persistent_workers=True))
        for _ in range(2):
            got = [batch.tolist() for batch in fixed]
            assert Counter(i for b in got for i in b) == Counter(range(n))
            assert min(map(len, got)) >= 2
    with pytest.raises(RepairError, match=r"worker 0 of 2: the stream yields 1 sample .*use fewer workers"):
        list(merge_tail(DataLoader(Stream(2), batch_size=4, num_workers=2)))


@pytest.mark.slow
@given(
    n=st.integers(2, 40), batch_size=st.integers(2, 9), workers=st.integers(1, 2), stream=st.booleans(),
    drop_last=st.booleans(), shuffle=st.booleans(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_epochs_of_real_workers(n, batch_size, workers, stream, drop_last, shuffle):
    options = {"batch_size": batch_size, "num_workers": workers, "drop_last": drop_last, "persistent_workers": True}
    if not stream:
        loader = DataLoader(range(n), shuffle=shuffle, **options)
        fixes = [merge_tail, balance]
    else:
        loader, fixes = DataLoader(Stream(n), **options), [merge_tail]
    shares = [n] if not stream else [len(range(worker, n, workers)) for worker in range(workers)]
    for fix in fixes:
        fixed = fix(loader)
        if 1 in shares:
            with pytest.raises(RepairError, match="the stream yields 1 sample"):
                list(fixed)
            continue
        for _ in range(2):
            got = [batch.tolist() for batch in fixed]
            assert sorted(i for b in got for i in b) == list(range(n))
            assert all(2 <= len(b) <= batch_size + 1 for b in got)
            if not stream:
                assert len(got) == len(fixed)


def _second_half(_worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    info.dataset.start = 100  # as the documentation of IterableDataset does it


def test_a_dataset_is_found_behind_the_stream():
    loader = DataLoader(Sized(9), batch_size=4, num_workers=1, worker_init_fn=_second_half)
    fixed = merge_tail(loader)
    assert samples(fixed) == list(range(100, 109))
    assert fixed.dataset.n == 9
    assert len(fixed) == len(sizes(fixed)) == 2
    fixed.dataset.n = 10
    assert loader.dataset.n == 10
    assert isinstance(pickle.loads(pickle.dumps(fixed.dataset)), type(fixed.dataset))
    with pytest.raises(TypeError):
        len(merge_tail(DataLoader(Stream(9), batch_size=4)))
