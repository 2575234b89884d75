"""``merge_tail`` and ``balance``: what really comes out of the DataLoader, epoch after epoch."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from repair.loaders import Buckets, Sized, Stream, samples, sizes
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

import bnguard
from bnguard._errors import RepairError, TargetError, UsageError
from bnguard.repair import MergedBatches, MergeTailBatchSampler, balance, merge_tail

BOTH = pytest.mark.parametrize("fix", [merge_tail, balance])


# ------------------------------------------------------------------------------------------- properties


@given(
    n=st.integers(2, 120),
    batch_size=st.integers(2, 40),
    min_size=st.integers(2, 6),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    merge=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=400, deadline=None)
def test_an_epoch_shows_what_the_plain_loader_shows(n, batch_size, min_size, shuffle, drop_last, merge, seed):
    def loader(drop: bool) -> DataLoader:
        generator = torch.Generator().manual_seed(seed)
        return DataLoader(range(n), batch_size=batch_size, shuffle=shuffle, drop_last=drop, generator=generator)

    fix = merge_tail if merge else balance
    if min(n, batch_size) < min_size:
        with pytest.raises(RepairError, match=f"fewer than {min_size}"):
            fix(loader(drop_last), min_size)
        return
    fixed, plain = fix(loader(drop_last), min_size), loader(False)
    for _ in range(2):
        batches = [batch.tolist() for batch in fixed]
        assert [i for b in batches for i in b] == samples(plain)  # the order too, and so the random numbers drawn
        assert len(fixed) == len(batches)
        got = [len(b) for b in batches]
        assert min(got) >= min_size
        assert max(got) <= batch_size + min_size - 1
        if merge:
            assert set(got[:-1]) <= {batch_size}
        else:
            assert max(got) - min(got) <= 1


@given(
    n=st.integers(2, 90),
    batch_size=st.integers(2, 20),
    world=st.integers(1, 6),
    drop=st.booleans(),
    merge=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_ranks_keep_their_samples_and_their_steps(n, batch_size, world, drop, merge):
    fix = merge_tail if merge else balance
    counts, tallies = set(), []
    for rank in range(world):
        sampler = DistributedSampler(range(n), world, rank, shuffle=True, seed=3, drop_last=drop)
        loader = DataLoader(range(n), batch_size=batch_size, sampler=sampler)
        if len(sampler) < 2:
            if len(sampler):
                with pytest.raises(RepairError):
                    fix(loader)
            return
        fixed = fix(loader)
        for epoch in (0, 1):
            fixed.sampler.set_epoch(epoch)
            batches = [b.tolist() for b in fixed]
            assert min(map(len, batches)) >= 2
            assert len(batches) == len(fixed)
            assert [i for b in batches for i in b] == samples(loader)
            counts.add(len(batches))
            tallies.append(batches)
    assert len(counts) == 1  # no rank waits for another
    assert world * 2 == len(tallies)


@given(groups=st.lists(st.integers(0, 9), min_size=1, max_size=8), size=st.integers(1, 5), min_size=st.integers(2, 4))
@settings(max_examples=200, deadline=None)
def test_batch_samplers_with_a_law_of_their_own(groups, size, min_size):
    ends = [sum(groups[: i + 1]) for i in range(len(groups))]
    buckets = Buckets([list(range(end - n, end)) for end, n in zip(ends, groups, strict=True)], size)
    loader = DataLoader(range(max(ends[-1], 1)), batch_sampler=buckets)
    if 0 < ends[-1] < min_size:
        with pytest.raises(RepairError, match=f"{ends[-1]} sample"):
            merge_tail(loader, min_size)
        return
    fixed = merge_tail(loader, min_size)
    assert len(fixed) == len(list(fixed)) == len(fixed)  # counted on a copy, and again after a pass
    assert samples(fixed) == list(range(ends[-1]))
    assert min(sizes(fixed), default=min_size) >= min_size
    assert sizes(loader) == [len(b) for b in buckets]  # the user's own lists did not grow


# ------------------------------------------------------------------------------------------ real workers


@BOTH
def test_workers_persist_and_shuffle_anew(fix):
    loader = DataLoader(
        range(17), batch_size=4, shuffle=True, num_workers=2, persistent_workers=True, prefetch_factor=3, timeout=60
    )
    fixed = fix(loader)
    epochs = [samples(fixed) for _ in range(3)]
    assert all(sorted(epoch) == list(range(17)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert min(sizes(fixed)) >= 2
    assert (fixed.num_workers, fixed.persistent_workers, fixed.prefetch_factor, fixed.timeout) == (2, True, 3, 60)
    assert sorted(samples(loader)) == list(range(17))  # the loader it was made of still works
    assert sizes(loader)[-1] == 1


def test_the_audit_knows_what_was_repaired():
    distributed = DistributedSampler(range(34), 2, 0)
    for fixed, runs, ranks in (
        (merge_tail(DataLoader(range(17), batch_size=4)), ((4, 3), (5, 1)), (0, 0)),
        (balance(DataLoader(range(17), batch_size=4)), ((4, 2), (3, 3)), (0, 0)),
        (merge_tail(DataLoader(range(34), batch_size=4, sampler=distributed)), ((4, 3), (5, 1)), (0, 1)),
        (merge_tail(DataLoader(Sized(17), batch_size=4)), ((4, 3), (5, 1)), (0, 0)),
    ):
        report = bnguard.audit_loader(fixed)
        (stream,) = report.loaders[0].streams
        assert (stream.batches, stream.ranks) == (runs, ranks)
        assert not report.findings
        if ranks == (0, 0):
            assert sizes(fixed) == [size for size, count in runs for _ in range(count)]


# ------------------------------------------------------------------------------------- what is left alone


@BOTH
def test_a_loader_that_is_safe_is_returned_itself(fix):
    for loader in (
        DataLoader(range(16), batch_size=4, shuffle=True),
        DataLoader(range(16), batch_size=4, sampler=DistributedSampler(range(16), 2, 1)),
        DataLoader(range(16), batch_size=4, sampler=DistributedSampler(range(16), 2, 1), drop_last=True),
        DataLoader(range(16), batch_sampler=BatchSampler(RandomSampler(range(16)), 4, drop_last=False)),
        DataLoader(range(9), batch_size=4, sampler=WeightedRandomSampler(torch.ones(9), 8)),
        DataLoader(range(9), batch_size=4, sampler=SubsetRandomSampler([1, 2, 3, 4])),
    ):
        assert fix(loader) is loader
    fixed = fix(DataLoader(range(17), batch_size=4))
    assert fix(fixed) is fixed


@BOTH
@pytest.mark.parametrize(
    ("n", "batch_size", "drop_last"), [(18, 4, False), (16, 4, True), (18, 8, False), (34, 4, False)]
)
def test_a_loader_that_ranks_would_make_unsafe_is_repaired_for_them(fix, n, batch_size, drop_last):
    """A tail of two is no lone sample, but 18 samples are 9 on each of two ranks: Lightning divides them later."""
    loader = DataLoader(range(n), batch_size=batch_size, drop_last=drop_last)
    fixed = fix(loader)
    assert fixed is not loader
    assert samples(fixed) == samples(DataLoader(range(n)))
    for world in range(2, n // 2 + 1):
        sampler = DistributedSampler(range(n), world, 0, shuffle=False)
        divided = type(fixed.batch_sampler)(sampler, fixed.batch_sampler.batch_size)
        assert min(map(len, divided)) >= 2
        assert sum(map(len, divided)) == len(sampler)


def test_one_fix_can_follow_another():
    merged = merge_tail(DataLoader(range(9), batch_size=8))
    assert sizes(balance(merged)) == [5, 4]
    assert sizes(merge_tail(balance(merged))) == [9]
    assert sizes(merge_tail(DataLoader(range(11), batch_size=8), 4)) == [11]


def test_attributes_and_randomness_are_the_loaders_own():
    generator, collate = torch.Generator().manual_seed(5), lambda items: torch.tensor(items) * 2
    loader = DataLoader(
        TensorDataset(torch.arange(9)), batch_size=4, shuffle=True, generator=generator, collate_fn=lambda x: x
    )
    loader.my_note = "kept"
    fixed = merge_tail(loader)
    for name in ("dataset", "collate_fn", "generator", "sampler", "pin_memory", "worker_init_fn", "my_note"):
        assert getattr(fixed, name) is getattr(loader, name)
    assert (fixed.batch_size, fixed.drop_last, loader.batch_size) == (4, False, 4)
    again = merge_tail(DataLoader(range(9), batch_size=4, collate_fn=collate))
    assert [b.tolist() for b in again] == [[0, 2, 4, 6], [8, 10, 12, 14, 16]]


def test_a_subclass_stays_one():
    class Mine(DataLoader):
        def __init__(self, data: Dataset, wanted: str) -> None:
            super().__init__(data, batch_size=4)
            self.wanted = wanted

        def __iter__(self):
            return (batch + 1 for batch in super().__iter__())

    fixed = merge_tail(Mine(range(9), "words"))
    assert type(fixed) is Mine
    assert fixed.wanted == "words"
    assert samples(fixed) == list(range(1, 10))
    assert sizes(fixed) == [4, 5]


def test_graphs_are_merged_too():
    data = pytest.importorskip("torch_geometric.data")
    from torch_geometric.loader import DataLoader as GraphLoader

    graphs = [data.Data(x=torch.full((i + 1, 2), float(i)), edge_index=torch.empty(2, 0).long()) for i in range(9)]
    fixed = merge_tail(GraphLoader(graphs, batch_size=4, follow_batch=["x"]))
    assert type(fixed) is GraphLoader
    batches = list(fixed)
    assert [b.num_graphs for b in batches] == [4, 5]
    assert batches[1].x_batch.max() == 4


def test_a_batch_sampler_given_as_sampler():
    loader = DataLoader(torch.arange(9), sampler=BatchSampler(range(9), 4, drop_last=False), batch_size=None)
    assert sizes(merge_tail(loader)) == [4, 5]


@pytest.mark.parametrize("verify", [True, False])
def test_batches_of_indices_may_be_arrays(verify):
    """A DataLoader takes a batch of indices as a list, an array, a tensor or a range."""
    tensors, arrays = list(torch.arange(9).split(4)), [np.arange(4), np.arange(4, 8), np.array([8])]
    for batches in (
        tensors,
        arrays,
        [[0, 1, 2, 3], [4, 5, 6, 7], arrays[2]],
        [[0, 1, 2, 3], arrays[1], tensors[2]],
        [range(4), range(4, 8), range(8, 9)],
        [(0, 1, 2, 3), (4, 5, 6, 7), (8,)],
        [[0, 1, 2, 3], arrays[1], iter([8])],
    ):
        given_batches = [b if hasattr(b, "__len__") else list(b) for b in batches]
        fixed = merge_tail(DataLoader(range(9), batch_sampler=given_batches), verify=verify)
        assert [b.tolist() for b in fixed] == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    alone = merge_tail(DataLoader(range(9), batch_sampler=[np.array([1]), np.array([2])]), verify=verify)
    assert [b.tolist() for b in alone] == [[1, 2]]
    assert [len(b) for b in (*tensors, *arrays)] == [4, 4, 1] * 2


def test_an_array_of_indices_stays_one_for_a_dataset_that_takes_whole_batches():
    class Column(Dataset):
        def __init__(self) -> None:
            self.values = np.arange(9) * 2

        def __len__(self) -> int:
            return 9

        def __getitem__(self, index):
            assert isinstance(index, np.ndarray)
            return self.values[index]

        def __getitems__(self, indices):
            return list(self.values[indices + 0])  # an array can do what a list cannot

    arrays = [np.arange(4), np.arange(4, 8), np.array([8])]
    fixed = merge_tail(DataLoader(Column(), batch_sampler=arrays))
    assert [b.tolist() for b in fixed] == [[0, 2, 4, 6], [8, 10, 12, 14, 16]]


def test_lists_of_batches_stay_as_they_are():
    given_batches = [[0, 1], [2], [3, 4], [5]]
    fixed = merge_tail(DataLoader(range(6), batch_sampler=given_batches))
    assert [b.tolist() for b in fixed] == [[0, 1, 2], [3, 4, 5]]
    assert given_batches == [[0, 1], [2], [3, 4], [5]]
    first = merge_tail(DataLoader(range(3), batch_sampler=[[0], [1, 2]]))
    assert samples(first) == [0, 1, 2]
    assert sizes(first) == [3]


def test_the_sampler_below_learns_the_epoch():
    sampler = DistributedSampler(range(18), 2, 0, shuffle=True)
    batches = MergeTailBatchSampler(sampler, 4)
    batches.set_epoch(7)
    assert sampler.epoch == 7
    over = MergedBatches(BatchSampler(sampler, 4, drop_last=False))
    over.set_epoch(8)
    assert sampler.epoch == 8
    assert [len(b) for b in over] == [4, 5]

    class Growing(Buckets):
        def set_epoch(self, epoch: int) -> None:
            self.groups = [list(range(4 * epoch))]

    growing = MergedBatches(Growing([[0, 1, 2, 3]], 2))
    assert len(growing) == 2
    growing.set_epoch(3)
    assert len(growing) == 6


def test_counting_moves_no_random_state():
    class Shuffled(Buckets):
        def __iter__(self):
            random.shuffle(self.groups)
            return super().__iter__()

    fixed = merge_tail(DataLoader(range(9), batch_sampler=Shuffled([[0, 1, 2], [3, 4, 5, 6, 7, 8]], 2)))
    random.seed(1)
    before = random.getstate()
    assert len(fixed) == 4
    assert random.getstate() == before


# ------------------------------------------------------------------------------------------- bad input


@BOTH
def test_one_sample_is_too_few(fix):
    if fix is merge_tail:
        with pytest.raises(RepairError, match="the Sized holds 1 sample in an epoch"):
            fix(DataLoader(Sized(1), batch_size=8))
    for loader in (
        DataLoader(range(1), batch_size=8),
        DataLoader(range(2), batch_size=8, sampler=DistributedSampler(range(2), 2, 0)),
    ):
        with pytest.raises(RepairError, match="yields 1 sample in an epoch, and no batch may hold fewer than 2"):
            fix(loader)
    with pytest.raises(RepairError, match="batch_size is 1") as caught:
        fix(DataLoader(range(9)))
    assert "allow_single_sample" in (caught.value.hint or "")


@BOTH
def test_what_is_no_loader_is_told_so(fix):
    with pytest.raises(TargetError, match="a list is no DataLoader"):
        fix([1, 2])
    with pytest.raises(RepairError, match="makes no batches"):
        fix(DataLoader(range(4), batch_size=None))
    for wrong in (1, 0, 2.5, True):
        with pytest.raises(UsageError, match="min_size"):
            fix(DataLoader(range(9), batch_size=4), wrong)


def test_balance_says_what_it_cannot_do():
    with pytest.raises(RepairError, match="IterableDataset") as caught:
        balance(DataLoader(Stream(9), batch_size=4))
    assert "merge_tail" in (caught.value.hint or "")
    with pytest.raises(RepairError, match="meant to differ"):
        balance(DataLoader(range(9), batch_sampler=[[0, 1, 2], [3, 4], [5, 6, 7, 8]]))
    even = balance(DataLoader(range(9), batch_sampler=[[0, 1, 2, 3], [4, 5, 6, 7], [8]]))
    assert sizes(even) == [3, 3, 3]
    assert len(even) == 3
    assert samples(even) == list(range(9))


def test_verification_notices_a_batch_that_is_still_too_small(monkeypatch):
    monkeypatch.setattr(MergeTailBatchSampler, "tail", "keep")  # as if its law were another
    with pytest.raises(RepairError, match="a batch of 1 would still come"):
        merge_tail(DataLoader(range(9), batch_size=8))
    assert sizes(merge_tail(DataLoader(range(9), batch_size=8), verify=False)) == [9]


def test_a_failing_sampler_keeps_its_own_words():
    class Broken(Sampler):
        def __iter__(self):
            yield [1, 2]
            raise RuntimeError("no more")

    with pytest.raises(bnguard.BnguardError, match="no more"):
        merge_tail(DataLoader(range(9), batch_sampler=Broken()))


def test_endless_batches_have_no_tail():
    class Endless(Sampler):
        def __iter__(self):
            while True:
                yield [0, 1, 2]

        def __len__(self) -> int:
            return 10

    fixed = merge_tail(DataLoader(range(3), batch_sampler=Endless()))
    assert [len(b) for _, b in zip(range(3), fixed, strict=False)] == [3, 3, 3]
