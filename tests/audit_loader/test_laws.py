"""The arithmetic against the real thing: torch, scikit-learn and Accelerate, more than 100,000 configurations.

Each test counts what it compared; the last one adds up.
"""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    SequentialSampler,
    get_worker_info,
    random_split,
)
from torch.utils.data.distributed import DistributedSampler

from bnguard._audit_loader.plan import Setup, batches, chunks, even_pieces
from bnguard._audit_loader.sharding import make_plan
from bnguard._audit_loader.sharding.workers import WORKER_SHARDINGS
from bnguard._audit_loader.splits import Split, fold_sizes, parse_split, split_sizes
from bnguard._audit_loader.summary import describe
from bnguard._errors import UsageError
from bnguard._facts.loaders import Runs

CHECKED: Counter[str] = Counter()
BOTH = (False, True)


def expand(runs: Runs) -> list[int]:
    return [size for size, count in runs for _ in range(count)]


def of_rank(streams, rank: int) -> list[int]:
    return next(expand(s.batches) for s in streams if s.ranks[0] <= rank <= s.ranks[1])


def test_plain_loaders():
    for n, size, drop in itertools.product(range(1, 260), range(1, 65), BOTH):
        real = [len(batch) for batch in DataLoader(range(n), size, drop_last=drop).batch_sampler]
        assert expand(batches(n, size, drop)) == real, (n, size, drop)
        CHECKED["DataLoader"] += 1


FRACTIONS = [
    (0.8, 0.2), (0.5, 0.3, 0.2), (0.7, 0.15, 0.15), (0.6, 0.2, 0.2), (0.9, 0.1), (0.29, 0.71), (0.57, 0.43),
    (0.99, 0.01), (1 / 3, 1 / 3, 1 / 3), (0.1,) * 10, (0.25,) * 4, (1.0,), (1.0, 0.0), (0.05, 0.95),
    (0.4, 0.3, 0.2, 0.1),
]  # fmt: skip


def test_random_split():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random_split warns of empty parts
        for n, fractions in itertools.product(range(1, 600), FRACTIONS):
            real = tuple(len(part) for part in random_split(range(n), fractions))
            assert split_sizes(n, Split(fractions), "random-split") == real, (n, fractions)
            CHECKED["random_split"] += 1


def test_random_split_of_large_datasets(monkeypatch: pytest.MonkeyPatch):
    """With the permutation left out, random_split's own arithmetic runs on any number."""
    warnings.simplefilter("ignore")

    class Permutation:
        def __init__(self, n: int) -> None:
            self.n = n

        def tolist(self) -> range:
            return range(self.n)

    class Sized:
        def __init__(self, n: int) -> None:
            self.n = n

        def __len__(self) -> int:
            return self.n

    monkeypatch.setattr(torch.utils.data.dataset, "randperm", lambda n, generator: Permutation(n))
    draw = random.Random(3)
    for fractions in FRACTIONS:
        for n in (draw.randrange(1, 10 ** draw.randrange(3, 18)) for _ in range(100)):
            try:
                real = tuple(len(p.indices) for p in random_split(Sized(n), fractions))
            except ValueError:
                with pytest.raises(UsageError, match="refuses"):
                    split_sizes(n, Split(fractions), "random-split")
            else:
                assert split_sizes(n, Split(fractions), "random-split") == real, (n, fractions)
            CHECKED["random_split, large"] += 1


def test_splits_by_hand():
    for n, fractions in itertools.product(range(1, 400), FRACTIONS):
        for rounding, cut in (("floor", int), ("round", round)):
            head = [cut(n * f) for f in fractions[:-1]]
            if n - sum(head) < 0:
                continue
            assert split_sizes(n, Split(fractions), rounding) == (*head, n - sum(head))
            CHECKED[rounding] += 1


def test_train_test_split():
    from sklearn.model_selection import train_test_split

    for n, (train, test) in itertools.product(range(1, 150), [(0.8, 0.2), (0.75, 0.25), (0.67, 0.33), (0.9, 0.1)]):
        try:
            real = tuple(len(part) for part in train_test_split(range(n), test_size=test))
        except ValueError:
            with pytest.raises(UsageError):
                split_sizes(n, Split((train, test)), "sklearn")
        else:
            assert split_sizes(n, Split((train, test)), "sklearn") == real, (n, test)
        CHECKED["train_test_split"] += 1


def test_nested_train_test_split():
    from sklearn.model_selection import train_test_split

    parts = [(0.5, 0.3, 0.2), (0.6, 0.2, 0.2), (0.7, 0.15, 0.15)]
    for n, (train, val, test) in itertools.product(range(3, 150), parts):
        try:
            rest, last = train_test_split(range(n), test_size=test)
            first, middle = train_test_split(rest, test_size=val / math.fsum((train, val)))
        except ValueError:
            with pytest.raises(UsageError):
                split_sizes(n, Split((train, val, test)), "sklearn")
        else:
            real = (len(first), len(middle), len(last))
            assert split_sizes(n, Split((train, val, test)), "sklearn") == real, (n, train, val, test)
        CHECKED["nested train_test_split"] += 1


def test_kfold():
    from sklearn.model_selection import KFold

    for n, folds in itertools.product(range(2, 60), range(2, 12)):
        if folds > n:
            with pytest.raises(UsageError):
                fold_sizes(n, folds)
            continue
        real = [len(held) for _, held in KFold(folds).split(range(n))]
        assert [held for first, last, held in fold_sizes(n, folds) for _ in range(first, last + 1)] == real
        CHECKED["KFold"] += 1


def test_distributed_sampler():
    grid = itertools.product(range(1, 70), range(2, 9), BOTH, BOTH, (1, 2, 3, 4, 5, 7, 8, 16))
    for n, world, sampler_drop, drop, size in grid:
        plan = make_plan(n, Setup(size, drop, world, sampler_drop_last=sampler_drop))
        shown: set[int] = set()
        for rank in range(world):
            sampler = DistributedSampler(range(n), world, rank, shuffle=False, drop_last=sampler_drop)
            real = list(BatchSampler(sampler, size, drop))
            assert of_rank(plan.streams, rank) == [len(b) for b in real], (n, world, sampler_drop, drop, size)
            shown.update(index for batch in real for index in batch)
        assert plan.unused == n - len(shown), (n, world, sampler_drop, drop, size)
        CHECKED["DistributedSampler"] += 1


@given(n=st.integers(1, 10**15), world=st.integers(1, 4096), size=st.integers(1, 10**6), drop=st.booleans())
@settings(max_examples=500, deadline=None)
def test_lengths_of_large_loaders(n: int, world: int, size: int, drop: bool):
    sampler = DistributedSampler(range(n), world, world - 1, drop_last=drop)
    loader = DataLoader(range(n), size, sampler=sampler, drop_last=drop)
    setup = Setup(size, drop, world, sampler_drop_last=drop and world > 1)
    streams = make_plan(n, setup).streams
    assert [s.steps for s in streams] == [len(loader)]
    assert sum(s.total for s in streams) == (len(loader) * size if drop else sampler.num_samples)
    CHECKED["large"] += 1


def test_unrepeated_ranks():
    for n, world, size, drop in itertools.product(range(1, 60), range(2, 8), range(1, 9), BOTH):
        plan = make_plan(n, Setup(size, drop, world, uneven=True))
        for rank in range(world):
            real = [len(b) for b in BatchSampler(range(rank, n, world), size, drop)]
            assert of_rank(plan.streams, rank) == real, (n, world, size, drop)
        CHECKED["unrepeated"] += 1


def test_data_parallel_scatter_and_pipelines():
    for n, pieces in itertools.product(range(1, 260), range(1, 49)):
        row = torch.empty(n)
        assert chunks(n, pieces) == tuple(len(p) for p in row.chunk(pieces)), (n, pieces)
        real = [len(p) for p in row.tensor_split(pieces) if len(p)]
        assert expand(even_pieces(n, pieces)) == real, (n, pieces)
        CHECKED["chunk and tensor_split"] += 2


def test_accelerate_batch_samplers():
    from accelerate.data_loader import BatchSamplerShard

    grid = itertools.product(range(1, 70), (1, 2, 3, 4, 6, 8), (2, 3, 4), BOTH, BOTH, BOTH)
    for n, size, world, drop, uneven, split in grid:
        if split and size % world:
            continue
        sharding = "accelerate-split" if split else "accelerate"
        plan = make_plan(n, Setup(size, drop, world, sharding, uneven=uneven))
        shown: set[int] = set()
        for rank in range(world):
            inner = BatchSampler(range(n), size, drop)
            shard = BatchSamplerShard(inner, world, rank, split_batches=split, even_batches=not uneven)
            real = list(shard)
            told = of_rank(plan.streams, rank)
            assert told == [len(b) for b in real], (n, size, world, drop, uneven, split, rank)
            shown.update(index for batch in real for index in batch)
        assert plan.unused == n - len(shown), (n, size, world, drop, uneven, split)
        CHECKED["BatchSamplerShard"] += 1


def test_accelerate_iterable_shards():
    from accelerate.data_loader import IterableDatasetShard

    grid = itertools.product(range(1, 34), (1, 2, 3, 4, 6), (2, 3), BOTH, BOTH)
    for n, size, world, drop, split in grid:
        if split and size % world:
            continue
        sharding = "accelerate-split" if split else "accelerate"
        plan = make_plan(n, Setup(size, drop, world, sharding, iterable=True))
        for rank in range(world):
            shard = IterableDatasetShard(Counting(n), size, drop, world, rank, split)
            real = [len(b) for b in DataLoader(shard, size // world if split else size, drop_last=drop)]
            assert of_rank(plan.streams, rank) == real, (n, size, world, drop, split)
        CHECKED["IterableDatasetShard"] += 1


def test_accelerate_dispatcher(monkeypatch: pytest.MonkeyPatch):
    """Rank 0 of the real dispatcher, with the collectives left out; the slice it takes tells every rank's."""
    from accelerate import data_loader

    monkeypatch.setattr(data_loader, "broadcast", lambda batch, from_process: batch)
    monkeypatch.setattr(data_loader, "broadcast_object_list", lambda _list: None)
    for n, size, world, drop in itertools.product(range(1, 30), range(1, 5), (2, 3, 4), BOTH):
        pieces: list[list[int]] = []

        def cut(batch, where, process_index=None, num_processes=None, pieces=pieces, world=world):
            share = where.stop - where.start
            pieces.append([len(batch[r * share : (r + 1) * share]) for r in range(world)])
            return batch[where]

        loader = data_loader.DataLoaderDispatcher(Counting(n), batch_size=size, drop_last=drop, _drop_last=drop)
        loader.slice_fn = cut

        class State:
            num_processes, process_index, device = world, 0, torch.device("cpu")

        loader.state = State()
        monkeypatch.setattr(data_loader, "send_to_device", lambda batch, *_a, **_k: batch)
        plan = make_plan(n, Setup(size, drop, world, "accelerate-dispatch"))
        steps = -(-n // (size * world)) if not drop else n // size // world
        try:
            list(loader)
        except ValueError:  # it has nothing to deal out
            assert not drop or not steps
            continue
        real = pieces[1:] if not drop else pieces  # the first cut keeps samples to fill up the last round with
        for rank in range(world):
            assert of_rank(plan.streams, rank) == [row[rank] for row in real], (n, size, world, drop, rank)
        CHECKED["DataLoaderDispatcher"] += 1


class Counting(IterableDataset):
    """Yields 0 … n - 1, shared between the workers in one of three ways."""

    def __init__(self, n: int, shard: str = "none") -> None:
        self.n, self.shard = n, shard

    def __iter__(self):
        info = get_worker_info()
        return iter(self.share(info.id if info else 0, info.num_workers if info else 1))

    def share(self, worker: int, workers: int) -> range:
        if self.shard == "stride":
            return range(worker, self.n, workers)
        if self.shard == "ceil":  # as in the PyTorch docs
            each = math.ceil(self.n / float(workers))
            return range(worker * each, min((worker + 1) * each, self.n))
        return range(self.n)


def test_shares_of_workers():
    for n, workers, shard in itertools.product(range(1, 120), range(1, 17), WORKER_SHARDINGS):
        real = [len(Counting(n, shard).share(w, workers)) for w in range(workers)]
        told = [each for low, high, each in WORKER_SHARDINGS[shard].divide(n, workers) for _ in range(low, high + 1)]
        assert told == real, (n, workers, shard)
        CHECKED["worker shares"] += 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    ("n", "size", "workers", "shard", "drop"),
    [(35, 4, 4, "ceil", False), (33, 8, 4, "stride", False), (9, 4, 3, "none", False), (22, 4, 3, "ceil", True),
     (5, 2, 4, "ceil", False), (13, 3, 2, "stride", False)],
)  # fmt: skip
def test_worker_processes(n: int, size: int, workers: int, shard: str, drop: bool):
    """Real processes: all sizes, in the order in which they arrive, and the step of the first lone sample."""
    loader = DataLoader(Counting(n, shard), size, num_workers=workers, drop_last=drop)
    real = [len(batch) for batch in loader]
    setup = Setup(size, drop, iterable=True, workers=workers, shard=shard)
    fact = describe("train", "train", n, setup)
    told = sorted(size for s in fact.streams for _ in range(s.width) for size in expand(s.batches))
    assert told == sorted(real)
    assert fact.steps == len(real)
    lone = fact.first_single
    assert (lone.step if lone else None) == (real.index(1) + 1 if 1 in real else None)
    CHECKED["worker processes"] += 1


def test_whole_chains():
    """A split, then ranks, then batches, then replicas: real objects all the way."""
    draw = random.Random(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4000):
            n, world, size = draw.randrange(3, 120), draw.randrange(1, 5), draw.randrange(1, 17)
            replicas, drop = draw.randrange(1, 6), draw.random() < 0.3
            fractions = draw.choice(FRACTIONS)
            for part, length in zip(
                random_split(range(n), fractions), split_sizes(n, Split(fractions), "random-split"), strict=True
            ):
                if not length:
                    continue
                fact = describe("train", "train", length, Setup(size, drop, world, replicas=replicas))
                sampler = DistributedSampler(part, world, 0, shuffle=False) if world > 1 else SequentialSampler(part)
                real = [len(b) for b in DataLoader(part, size, sampler=sampler, drop_last=drop).batch_sampler]
                pieces = [[len(p) for p in torch.empty(b).chunk(replicas)] for b in real]
                assert expand(fact.streams[0].batches) == real
                assert fact.steps == len(real)
                assert fact.smallest == min((p for row in pieces for p in row), default=None)
                first = next((i for i, row in enumerate(pieces, 1) if 1 in row), None)
                assert (fact.first_single.step if fact.first_single else None) == first
                if first and replicas > 1:
                    assert fact.first_single.replica == pieces[first - 1].index(1)
                CHECKED["chains"] += 1


def test_ratios_are_fractions_of_their_sum():
    assert parse_split("5:3:2").fractions == (0.5, 0.3, 0.2)
    assert parse_split("8:2").fractions == (0.8, 0.2)


def test_more_than_100_000_configurations():
    if len(CHECKED) < 18:
        pytest.skip("counts when the whole file has run")
    print("\n".join(f"{what:28}{count:8,}" for what, count in CHECKED.items()))
    print(f"{'in all':28}{sum(CHECKED.values()):8,}")
    assert sum(CHECKED.values()) >= 100_000
