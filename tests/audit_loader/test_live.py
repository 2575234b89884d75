"""Live DataLoaders: the plan is what the loader really yields, and the loader does not notice the audit."""

from __future__ import annotations

import itertools
import random
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

import bnguard
from bnguard._audit_loader import follow
from bnguard._errors import TargetError, UsageError, UserCodeError


class Untouchable(Dataset):
    """A dataset with a length that fails the test when a sample is fetched."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int):
        raise AssertionError("a sample was fetched")


class Stream(IterableDataset):
    reads = 0

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self):
        Stream.reads += 1
        return iter(range(self.n))


class SizedStream(Stream):
    def __len__(self) -> int:
        return self.n


class Buckets:
    """A stateful batch sampler, as users write them: shuffled with every generator there is."""

    def __init__(self, groups: list[int], size: int = 4) -> None:
        self.groups, self.size, self.epoch = list(groups), size, 0
        self.generator = torch.Generator().manual_seed(5)
        self.rng = np.random.default_rng(5)

    def __iter__(self):
        self.epoch += 1
        random.shuffle(self.groups)
        np.random.rand()
        self.rng.random()
        torch.rand(1)
        torch.rand(1, generator=self.generator)
        start = 0
        for group in self.groups:
            yield from BatchSampler(range(start, start + group), self.size, False)
            start += group


def one(loader: object, **options):
    return bnguard.audit_loader(loader, **options).loaders[0]


def sizes(loader: object, **options) -> list[int]:
    return [size for s in one(loader, **options).streams for size, count in s.batches for _ in range(count)]


def test_the_contract():
    assert bnguard.audit_loader(DataLoader(Untouchable(9), 8)).loaders[0].streams[0].batches == ((8, 1), (1, 1))


LOADERS = {
    "sequential": lambda: DataLoader(Untouchable(33), 8),
    "shuffled": lambda: DataLoader(Untouchable(33), 8, shuffle=True, generator=torch.Generator().manual_seed(1)),
    "drop_last": lambda: DataLoader(Untouchable(33), 8, drop_last=True),
    "workers": lambda: DataLoader(Untouchable(33), 8, num_workers=2),
    "subset": lambda: DataLoader(Subset(Untouchable(50), range(17)), 8),
    "concat": lambda: DataLoader(ConcatDataset([Untouchable(8), Untouchable(9)]), 8),
    "subset sampler": lambda: DataLoader(Untouchable(50), 8, sampler=SubsetRandomSampler(range(25))),
    "weighted": lambda: DataLoader(Untouchable(50), 8, sampler=WeightedRandomSampler([1.0] * 50, 41)),
    "replacement": lambda: DataLoader(
        Untouchable(5), 8, sampler=RandomSampler(Untouchable(5), replacement=True, num_samples=57)
    ),
    "list sampler": lambda: DataLoader(Untouchable(50), 4, sampler=[3, 1, 2, 7, 9]),
    "list of batches": lambda: DataLoader(Untouchable(50), batch_sampler=[[1, 2, 3], [4], [5, 6]]),
    "batch sampler": lambda: DataLoader(
        Untouchable(50), batch_sampler=BatchSampler(SequentialSampler(range(33)), 16, False)
    ),
    "nested": lambda: DataLoader(
        Untouchable(50), batch_sampler=BatchSampler(BatchSampler(range(33), 4, False), 2, False)
    ),
    "batches as samples": lambda: DataLoader(Untouchable(50), sampler=BatchSampler(range(9), 4, False)),
    "buckets": lambda: DataLoader(Untouchable(50), batch_sampler=Buckets([9, 8, 3])),
}


def state_of(loader: DataLoader) -> list[object]:
    samplers = [loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None)]
    generators = [loader.generator, *(getattr(s, "generator", None) for s in samplers)]
    return [
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        [g.get_state().tolist() for g in generators if g is not None],
        [str(sorted(vars(s).items(), key=str)) for s in samplers if hasattr(s, "__dict__")],
        [s.rng.bit_generator.state for s in samplers if hasattr(s, "rng")],
        loader._iterator,
    ]


@pytest.mark.parametrize("kind", LOADERS)
def test_as_the_loader_yields_them_and_untouched(kind: str):
    loader = LOADERS[kind]()
    before = state_of(loader)
    told = sizes(loader)
    assert state_of(loader) == before
    real = [len(batch) for batch in loader.batch_sampler]
    assert sorted(told) == sorted(real)
    if kind != "buckets":
        assert told == real


def test_the_next_epoch_is_the_one_it_would_have_been():
    fresh, audited = LOADERS["buckets"](), LOADERS["buckets"]()
    random.seed(3)
    expected = list(fresh.batch_sampler)
    random.seed(3)
    bnguard.audit_loader(audited)
    assert list(audited.batch_sampler) == expected
    assert audited.batch_sampler.epoch == 1


def test_an_audited_loader_still_yields_everything():
    loader = DataLoader(range(9), 8, shuffle=True)
    bnguard.audit_loader(loader)
    assert sorted(x for batch in loader for x in batch.tolist()) == list(range(9))


def test_other_ranks_are_inferred():
    for n, world, drop, sampler_drop in itertools.product((7, 33, 40), (2, 3, 4), (False, True), (False, True)):
        told = []
        for rank in range(world):
            sampler = DistributedSampler(Untouchable(n), world, rank, drop_last=sampler_drop)
            fact = one(DataLoader(Untouchable(n), 8, sampler=sampler, drop_last=drop))
            assert [s.ranks for s in fact.streams] == [(0, world - 1)]
            real = [len(b) for b in BatchSampler(sampler, 8, drop)]
            assert [size for size, count in fact.streams[0].batches for _ in range(count)] == real
            told.append(fact)
        assert len(set(told)) == 1


class HalfSampler(DistributedSampler):
    def __iter__(self):
        return itertools.islice(super().__iter__(), 5)


def test_ranks_of_an_unknown_distributed_sampler_are_unknown():
    fact = one(DataLoader(Untouchable(40), 4, sampler=HalfSampler(Untouchable(40), 2, 1)))
    assert fact.unknown
    assert "only rank 1 of 2" in fact.unknown
    assert fact.streams[0].ranks == (1, 1)
    assert fact.streams[0].batches == ((4, 1), (1, 1))
    assert fact.first_single.rank == 1


class Lying(SequentialSampler):
    def __iter__(self):
        return iter(range(9))


def test_a_sampler_whose_length_lies_is_followed():
    assert sizes(DataLoader(Untouchable(16), 8, sampler=Lying(Untouchable(16)))) == [8, 1]


def test_accelerate_shards_are_read_without_accelerate_knowing():
    from accelerate.data_loader import BatchSamplerShard, IterableDatasetShard, SeedableRandomSampler

    inner = BatchSampler(SequentialSampler(range(17)), 4, False)
    shard = BatchSamplerShard(inner, 4, 1, even_batches=False)
    fact = one(DataLoader(Untouchable(17), batch_sampler=shard))
    assert [(s.ranks, s.batches) for s in fact.streams] == [((0, 0), ((4, 1), (1, 1))), ((1, 3), ((4, 1),))]
    fact = one(DataLoader(IterableDatasetShard(SizedStream(17), 4, num_processes=2), 4))
    assert [(s.ranks, s.batches) for s in fact.streams] == [((0, 1), ((4, 3),))]
    seeded = SeedableRandomSampler(Untouchable(9), generator=torch.Generator())
    assert sizes(DataLoader(Untouchable(9), 8, sampler=seeded)) == [8, 1]
    assert seeded.epoch == 0


def test_pyg_counts_graphs():
    geometric = pytest.importorskip("torch_geometric.loader")
    from torch_geometric.data import Data

    loader = geometric.DataLoader([Data(x=torch.zeros(3, 2), num_nodes=3) for _ in range(9)], batch_size=8)
    fact = one(loader)
    assert fact.streams[0].batches == ((8, 1), (1, 1))
    assert any("graphs" in note for note in fact.notes)
    assert [batch.num_graphs for batch in loader] == [8, 1]


def test_grouped_batches_of_torchvision():
    """The sampler of torchvision's detection references, written out: it is not part of the package."""
    from collections import defaultdict

    class GroupedBatchSampler(BatchSampler):
        def __init__(self, sampler, group_ids, batch_size):
            self.sampler, self.group_ids, self.batch_size = sampler, group_ids, batch_size

        def __iter__(self):
            buffer, samples = defaultdict(list), defaultdict(list)
            batches = 0
            for index in self.sampler:
                group = self.group_ids[index]
                buffer[group].append(index)
                samples[group].append(index)
                if len(buffer[group]) == self.batch_size:
                    yield buffer.pop(group)
                    batches += 1
            for group, _ in sorted(buffer.items(), key=lambda item: len(item[1]), reverse=True):
                if batches == len(self):
                    return
                missing = self.batch_size - len(buffer[group])
                buffer[group].extend((samples[group] * self.batch_size)[:missing])
                yield buffer[group]
                batches += 1

        def __len__(self):
            return len(self.sampler) // self.batch_size

    groups = [i % 3 for i in range(17)]
    loader = DataLoader(Untouchable(17), batch_sampler=GroupedBatchSampler(RandomSampler(Untouchable(17)), groups, 4))
    assert sizes(loader) == [len(b) for b in loader.batch_sampler] == [4, 4, 4, 4]


# --------------------------------------------------------------------------------------- what is not known


def test_iterable_of_unknown_length_is_unknown():
    Stream.reads = 0
    fact = one(DataLoader(Stream(9), 8))
    assert fact.unknown
    assert not fact.streams
    assert Stream.reads == 0


def test_count_reads_once():
    Stream.reads = 0
    assert sizes(DataLoader(Stream(9), 8), count=True) == [8, 1]
    assert Stream.reads == 1


def test_count_refuses_to_use_up():
    class OneShot(IterableDataset):
        def __init__(self):
            self.items = (i for i in range(9))

        def __iter__(self):
            return self.items

    dataset = OneShot()
    assert "use it up" in (one(DataLoader(dataset, 8), count=True).unknown or "")
    assert len(list(dataset)) == 9


def test_iterable_with_a_length():
    assert sizes(DataLoader(SizedStream(9), 8)) == [8, 1]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_of_unknown_sharding_are_unknown():
    loader = DataLoader(SizedStream(33), 8, num_workers=4)
    fact = one(loader)
    assert fact.unknown
    assert fact.first_single is None
    assert len([note for note in fact.notes if "batch of one" in note]) == 3
    known = one(loader, shard="stride")
    assert known.first_single.worker == 0
    assert loader._iterator is None


def test_unbatched_is_unknown():
    assert one(DataLoader(Untouchable(9), batch_size=None)).unknown
    assert one(DataLoader(SizedStream(9), batch_size=None)).unknown


def test_batches_given_to_the_dataset():
    loader = DataLoader(range(9), batch_size=None, sampler=BatchSampler(range(9), 8, False))
    assert sizes(loader) == [8, 1]


def test_a_generator_as_sampler_is_unknown_and_left_alone():
    indices = (i for i in range(9))
    fact = one(DataLoader(Untouchable(9), 8, sampler=indices))
    assert "use it up" in (fact.unknown or "")
    assert len(list(indices)) == 9


def test_sizes_that_vary_between_epochs_are_said_to():
    class Varying:
        epoch = 0

        def __iter__(self):
            self.epoch += 1
            return iter([[1, 2, 3], [4] if self.epoch == 2 else [4, 5]])

    fact = one(DataLoader(Untouchable(9), batch_sampler=Varying()))
    assert any("vary" in note for note in fact.notes)
    assert fact.first_single is not None  # the epoch that breaks is the one to show


class Drawn:
    """A batch sampler that a function makes anew in each epoch."""

    def __init__(self, make) -> None:
        self.make, self.epoch = make, 0

    def __iter__(self):
        self.epoch += 1
        return iter(self.make(self.epoch))


def test_which_epoch_has_which_batches():
    fact = one(DataLoader(Untouchable(9), batch_sampler=Drawn(lambda e: [[0] * 3] * e)))
    assert fact.epochs == (((3, 1),), ((3, 2),), ((3, 3),))
    assert (fact.varies, fact.ordered) == (False, True)
    lengths = one(DataLoader(Untouchable(9), 4, sampler=Drawn(lambda e: range(8 + e))))
    assert lengths.epochs == (((4, 2), (1, 1)), ((4, 2), (2, 1)), ((4, 2), (3, 1)))
    assert lengths.first_single is not None
    assert one(DataLoader(Untouchable(9), batch_sampler=[[1], [2, 3]])).epochs == ()


def test_what_is_drawn_at_random():
    batches = [[0] * n for n in (4, 3, 2, 1)]
    order = one(DataLoader(Untouchable(9), batch_sampler=Drawn(lambda _: random.sample(batches, 4))))
    assert (order.varies, order.ordered) == (False, False)
    sizes = one(DataLoader(Untouchable(9), batch_sampler=Drawn(lambda _: [[0] * random.randint(1, 9)])))
    assert (sizes.varies, sizes.ordered) == (True, True)
    assert any("drawn at random" in note for note in sizes.notes)
    lengths = one(DataLoader(Untouchable(9), 4, sampler=Drawn(lambda _: range(random.randint(1, 9)))))
    assert lengths.varies
    seeded = one(DataLoader(Untouchable(9), batch_sampler=Drawn(lambda e: random.Random(e).sample(batches, 4))))
    assert (seeded.varies, seeded.ordered, len(seeded.epochs)) == (False, True, 3)


def test_an_endless_batch_sampler(monkeypatch: pytest.MonkeyPatch):
    class Endless:
        def __iter__(self):
            while True:
                yield [1, 2]

    monkeypatch.setattr(follow, "MOST_BATCHES", 5000)
    seen: list[int] = []
    with pytest.raises(TargetError, match="did not end"):
        bnguard.audit_loader(DataLoader(Untouchable(9), batch_sampler=Endless()), progress=seen.append)
    assert seen == sorted(seen) != []


def test_a_long_batch_sampler_is_partly_unknown(monkeypatch: pytest.MonkeyPatch):
    class Long:
        def __iter__(self):
            yield [0]
            for _ in range(10_000):
                yield [1, 2]

        def __len__(self):
            return 10_001

    monkeypatch.setattr(follow, "MOST_BATCHES", 5000)
    report = bnguard.audit_loader(DataLoader(Untouchable(9), batch_sampler=Long()))
    assert "first 5,000" in (report.loaders[0].unknown or "")
    assert [f.code for f in report.findings] == ["DL101"]  # what was seen is known


def test_a_sampler_that_raises():
    class Broken:
        def __iter__(self):
            yield [1]
            raise KeyError("lost")

    with pytest.raises(UserCodeError, match="KeyError") as caught:
        bnguard.audit_loader(DataLoader(Untouchable(9), batch_sampler=Broken()))
    assert "test_live.py" in (caught.value.detail or "")


def test_random_state_returns_after_an_error():
    class Broken:
        def __iter__(self):
            torch.rand(3)
            random.random()
            np.random.rand()
            raise RuntimeError

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(UserCodeError):
        bnguard.audit_loader(DataLoader(Untouchable(9), batch_sampler=Broken()))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


# ---------------------------------------------------------------------------------- notes, names and modes


def test_notes_on_what_may_change_sizes():
    class Batched(Untouchable):
        def __getitems__(self, indices):
            raise AssertionError

    class Own(DataLoader):
        def __iter__(self):
            yield from super().__iter__()

    assert any("collate" in n for n in one(DataLoader(Untouchable(9), 8, collate_fn=lambda x: x)).notes)
    assert any("__getitems__" in n for n in one(DataLoader(Subset(Batched(9), range(9)), 8)).notes)
    assert any("__iter__" in n for n in one(Own(Untouchable(9), 8)).notes)
    assert not one(DataLoader(Subset(Untouchable(9), range(9)), 8)).notes


def test_names_decide_the_mode():
    loader = DataLoader(Untouchable(9), 8)
    report = bnguard.audit_loader({"train": loader, "val": loader, "other": loader}, eval_names=["other"])
    assert [fact.mode for fact in report.loaders] == ["train", "eval", "eval"]
    assert [f.code for f in report.findings] == ["DL101", "DL102", "DL102"]
    assert [fact.mode for fact in bnguard.audit_loader([loader, loader], names=["train", "test"]).loaders] == [
        "train",
        "eval",
    ]
    assert one(loader, mode="eval").mode == "eval"
    assert one(loader, name="val_loader").mode == "eval"


def test_nested_and_mixed_holders():
    loader = DataLoader(Untouchable(9), 8)

    class Prefetcher:
        def __init__(self):
            self.loader = loader

    report = bnguard.audit_loader({"train": loader, "val": [loader, Prefetcher()], "classes": 10})
    assert [fact.name for fact in report.loaders] == ["train", "val 1", "val 2"]


def test_a_framework_that_replaces_the_sampler():
    fact = one(DataLoader(Untouchable(33), 8, shuffle=True), world_size=4)
    assert fact.streams[0].ranks == (0, 3)
    assert fact.streams[0].batches == ((8, 1), (1, 1))


@pytest.mark.parametrize(
    ("loader", "options", "error", "words"),
    [
        (3, {}, TargetError, "no DataLoader"),
        (lambda: 3, {}, TargetError, "function"),
        ([3], {}, TargetError, "holds no DataLoader"),
        (DataLoader(range(9)), {"n": 9}, UsageError, "live loader"),
        (DataLoader(range(9)), {"names": ["a", "b"]}, UsageError, "2 names"),
        (DataLoader(range(9)), {"eval_names": ["b"]}, UsageError, "names no loader"),
        (DataLoader(range(9)), {"world_size": 0}, UsageError, "world_size"),
        (DataLoader(range(9), batch_sampler=Buckets([3])), {"world_size": 2}, UsageError, "not known"),
    ],
)
def test_bad_requests(loader: object, options: dict[str, object], error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        bnguard.audit_loader(loader, **options)


def test_default_samplers_are_not_enumerated():
    class Huge(Untouchable):
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fact = one(DataLoader(Huge(10**15 + 1), 8, shuffle=True))
    assert fact.streams[0].batches == ((8, 125 * 10**12), (1, 1))
