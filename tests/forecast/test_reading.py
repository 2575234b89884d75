"""Loaders whose sampler does not say how many rows come: they are read, and what came is what is foreseen."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from forecast import nets
from forecast.real import Real, epoch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info
from torch.utils.data.distributed import DistributedSampler

import bnguard
from bnguard._audit_loader import reading
from bnguard._facts.forecasts import ForecastFact


class Rows(Dataset):
    """Vectors, of which some are None."""

    def __init__(self, n: int, missing: tuple[int, ...] = ()) -> None:
        self.n, self.missing, self.asked = n, missing, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int):
        self.asked += 1
        return None if i in self.missing else torch.full((4,), float(i))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))


def one(model: nn.Module, loader: Any, inputs: Any = None, **options: Any) -> ForecastFact:
    (fact,) = bnguard.forecast(model, loader, inputs, **options).forecasts
    return fact


def agree(fact: ForecastFact, real: Real) -> None:
    assert fact.stops is (real.step is not None), (fact, real)
    assert (fact.step, fact.layer) == (real.step, real.layer)


def present(samples: list[Any]) -> torch.Tensor:
    return torch.stack([x for x in samples if x is not None])


class Bulk(Rows):
    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[i] for i in indices if i not in self.missing]


class SkipsOnes(DataLoader):
    def __iter__(self):
        return (x for x in super().__iter__() if len(x) > 1)


class Halves(DataLoader):
    def __iter__(self):
        return (half for x in super().__iter__() for half in x.chunk(2))


class Wrapper:
    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __iter__(self):
        return (x[: len(x) - 7] for x in self.loader)


class ByHand:
    def __init__(self, n: int) -> None:
        self.x = torch.randn(n, 4)

    def __iter__(self):
        return iter(self.x.split(4))


class Stream(IterableDataset):
    """Says that it has more than it gives."""

    def __init__(self, n: int, says: int) -> None:
        self.n, self.says, self.reads = n, says, 0

    def __len__(self) -> int:
        return self.says

    def __iter__(self):
        self.reads += 1
        return iter(torch.randn(self.n, 4))


class Divided(Stream):
    def __iter__(self):
        info = get_worker_info()
        rows = torch.randn(self.n, 4)
        return iter(rows if info is None else rows[info.id :: info.num_workers])


LOADERS = {
    "drops to one": lambda: DataLoader(Rows(8, (5, 6, 7)), 4, collate_fn=present),
    "drops the lone one": lambda: DataLoader(Rows(9, (0,)), batch_sampler=[[0, 1, 2], [0, 3, 4]], collate_fn=present),
    "drops nothing": lambda: DataLoader(Rows(9), 4, shuffle=True, collate_fn=present),
    "two views": lambda: DataLoader(Rows(9), 4, collate_fn=lambda s: torch.cat([torch.stack(s)] * 2)),
    "joins pairs": lambda: DataLoader(Rows(6), 4, collate_fn=lambda s: torch.stack(s).view(-1, 2, 4).mean(1)),
    "fetched whole": lambda: DataLoader(Bulk(8, (5, 6, 7)), 4),
    "skips": lambda: SkipsOnes(Rows(9), 4),
    "halves": lambda: Halves(Rows(8), 2),
    "wrapped": lambda: Wrapper(DataLoader(Rows(16), 8)),
    "by hand": lambda: ByHand(9),
    "by hand, even": lambda: ByHand(8),
    "whole batches": lambda: DataLoader([torch.randn(n, 4) for n in (3, 2, 1, 5)], batch_size=None),
    "a stream that is shorter": lambda: DataLoader(Stream(9, 12), 4),
    "a stream that is longer": lambda: DataLoader(Stream(12, 9), 4),
}


class Flattened(nn.Module):
    """Normalises every row of every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x):
        return self.net(x.reshape(-1, 4))


@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("model", [mlp, Flattened, lambda: nn.Linear(4, 4)], ids=["mlp", "flattened", "no norm"])
def test_what_comes_is_what_is_foreseen(name: str, model: Any):
    net = model()
    agree(one(net, LOADERS[name]()), epoch(net, LOADERS[name]()))


def test_samples_that_differ_in_length():
    """Torch's own collate function refuses them, unless each is a batch of its own."""
    loader = DataLoader([torch.randn(n, 4) for n in (3, 2, 1, 5)], 1)
    agree(one(Flattened(), loader), epoch(Flattened(), loader))
    padded = DataLoader([torch.randn(n, 4) for n in (3, 2, 5, 1, 1, 1, 1)], 3, collate_fn=pad_sequence_first)
    agree(one(Flattened(), padded), epoch(Flattened(), padded))


def pad_sequence_first(samples: list[torch.Tensor]) -> torch.Tensor:
    return nn.utils.rnn.pad_sequence(samples, batch_first=True)


def test_the_input_may_be_given():
    dropping = LOADERS["drops to one"]
    agree(one(mlp(), dropping(), (4,)), epoch(mlp(), dropping()))


@pytest.mark.filterwarnings("ignore")
def test_the_workers_of_a_stream_are_played():
    fact = one(mlp(), DataLoader(Divided(9, 9), 4, num_workers=2))
    agree(fact, epoch(mlp(), DataLoader(Divided(9, 9), 4, num_workers=2)))
    assert fact.step == 3
    assert get_worker_info() is None


def test_the_report_shows_what_came():
    report = bnguard.forecast(mlp(), LOADERS["drops to one"]())
    assert report.loaders[0].streams[0].batches == ((4, 1), (1, 1))
    assert report.suggestions == ()
    assert any("present decides" in note for note in report.forecasts[0].notes)


# ------------------------------------------------------------------------------------------------- what is not known


def by_chance(samples: list[Any]) -> torch.Tensor:
    return torch.stack([x for x in samples if random.random() < 0.5] or samples[:1])


def test_chance():
    loader = DataLoader(Rows(20), 4, collate_fn=by_chance)
    unsure = one(mlp(), loader)
    assert unsure.stops is None
    assert "not the same each time it is read" in (unsure.unknown or "")
    assert one(nn.Linear(4, 4), loader).stops is False
    assert one(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), loader).stops is False


def test_an_order_by_chance_decides_what_is_left():
    loader = DataLoader(Rows(8, (5, 6, 7)), 4, shuffle=True, collate_fn=present)
    assert one(mlp(), loader).stops is None
    seeded = lambda: DataLoader(  # noqa: E731
        Rows(8, (5, 6, 7)), 4, shuffle=True, collate_fn=present, generator=torch.Generator().manual_seed(4)
    )
    agree(one(mlp(), seeded()), epoch(mlp(), seeded()))


def test_a_loader_that_raises_by_itself():
    loader = DataLoader(Rows(8, (4, 5, 6, 7)), 4, collate_fn=present)
    fact = one(mlp(), loader)
    assert fact.stops is None
    assert "the loader itself raises RuntimeError: stack expects" in (fact.unknown or "")
    shuffled = one(nn.Linear(4, 4), DataLoader(Rows(8, (0, 1)), 2, shuffle=True, collate_fn=present))
    assert shuffled.stops is None


def test_the_time_is_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "MOST_SECONDS", 0.0)
    loader = DataLoader(Rows(9), 4, collate_fn=present)
    unsure = one(mlp(), loader)
    assert unsure.stops is None
    assert "not read to its end" in (unsure.unknown or "")
    assert any("a batch of one comes at step 3 of 3" in note for note in unsure.notes)
    assert one(nn.Linear(4, 4), loader).stops is False


def test_other_ranks_were_not_read():
    data = Rows(8, (6,))
    sampler = DistributedSampler(data, num_replicas=2, rank=0, shuffle=False)
    fact = one(mlp(), DataLoader(data, 2, sampler=sampler, collate_fn=present))
    assert fact.stops in (None, True)
    plain = one(mlp(), DataLoader(Rows(9), 4, sampler=DistributedSampler(Rows(9), 2, 0), collate_fn=present))
    assert (plain.stops, plain.step, plain.ranks) == (True, 2, (0, 1))  # what came is what was planned, for all ranks


# ------------------------------------------------------------------------------------------------- nothing is changed


class Counting:
    """A collate function that counts, and draws."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, samples: list[Any]) -> torch.Tensor:
        self.calls += 1
        torch.rand(1), random.random()
        return torch.stack(samples)


def test_nothing_is_left_behind():
    counting, stream = Counting(), Stream(9, 9)
    generator = torch.Generator().manual_seed(3)
    loaders = {
        "a": DataLoader(Rows(9), 4, shuffle=True, collate_fn=counting, generator=generator),
        "b": DataLoader(stream, 4, collate_fn=counting),
    }
    net = mlp()
    before = torch.get_rng_state().tolist(), random.getstate(), generator.get_state().tolist()
    facts = bnguard.forecast(net, loaders).forecasts
    assert [(fact.stops, fact.step) for fact in facts] == [(True, 3), (True, 3)]
    assert (torch.get_rng_state().tolist(), random.getstate(), generator.get_state().tolist()) == before
    assert (counting.calls, stream.reads) == (0, 0)


def test_what_is_planned_by_the_sampler_alone_is_not_read():
    data = Rows(1000)
    assert one(mlp(), DataLoader(data, 8)).stops is False
    assert data.asked == 1
    long = TensorDataset(torch.randn(1000, 4))
    assert one(mlp(), DataLoader(long, batch_sampler=[[i, i + 1] for i in range(999)])).stops is False


# ----------------------------------------------------------------------------------------- samplers of the user's own


class Own:
    """A batch sampler of the user's."""

    def __init__(self, make: Any) -> None:
        self.make, self.epoch = make, 0

    def __iter__(self):
        self.epoch += 1
        return iter(self.make(self.epoch))


def test_a_sampler_that_changes_from_epoch_to_epoch():
    loader = DataLoader(Rows(9), batch_sampler=Own(lambda e: [[0, 1], [2]] if e == 2 else [[0, 1], [2, 3]]))
    fact = one(mlp(), loader)
    assert (fact.stops, fact.epoch, fact.step) == (True, 2, 2)


def test_a_later_epoch_brings_sizes_that_were_not_read():
    growing = lambda: Own(lambda e: [[0] * 7] if e == 1 else [[0] * 7, [1]])  # noqa: E731
    assert one(mlp(), DataLoader(Rows(9), batch_sampler=growing())).epoch == 2
    assert one(mlp(), SkipsOnes(Rows(9), batch_sampler=growing())).stops is False


def test_a_sampler_whose_order_is_drawn():
    sizes = [[0, 1, 2], [3], [4, 5, 6], [7, 8]]
    loader = DataLoader(Rows(9), batch_sampler=Own(lambda _: random.sample(sizes, 4)))
    report = bnguard.forecast(mlp(), loader)
    (fact,) = report.forecasts
    assert (fact.stops, fact.step, fact.layer) == (True, None, "1")
    assert any("at random" in note for note in fact.notes)
    assert [f.code for f in report.findings if f.severity == 3] == ["DL101"]


def test_a_sampler_whose_sizes_are_drawn():
    loader = DataLoader(Rows(30), batch_sampler=Own(lambda _: [[0] * random.randint(2, 9) for _ in range(9)]))
    assert one(nn.Linear(4, 4), loader).stops is False
    lone = DataLoader(Rows(30), batch_sampler=Own(lambda _: [[0] * random.randint(1, 9) for _ in range(9)]))
    assert one(mlp(), lone).stops is None
    shorter = DataLoader(Rows(30), 4, sampler=Own(lambda _: range(random.randint(1, 30))))
    assert one(mlp(), shorter).stops is None
    assert one(nets.spatial(), {"n": 9, "batch_size": 8}, (3, 8, 8)).stops is False
