"""Nothing of the model, the loader or the process is changed by a forecast."""

from __future__ import annotations

import random

import numpy as np
import torch
from forecast import nets
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler
from torch.utils.data.distributed import DistributedSampler

import bnguard


class Noisy(Dataset):
    def __len__(self) -> int:
        return 9

    def __getitem__(self, i: int):
        random.random(), np.random.rand()
        return torch.rand(3, 8, 8)


class Endless(IterableDataset):
    def __init__(self) -> None:
        self.given = 0

    def __iter__(self):
        while True:
            self.given += 1
            yield torch.rand(3, 8, 8)


class Stateful:
    """A sampler that goes on where it stopped."""

    def __init__(self) -> None:
        self.at, self.rng = 0, np.random.default_rng(1)

    def __iter__(self):
        for _ in range(9):
            self.at += 1
            yield int(self.rng.integers(9))

    def __len__(self) -> int:
        return 9


def random_states():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


def state(model: nn.Module) -> dict[str, object]:
    return {
        "flags": [m.training for m in model.modules()],
        "tensors": [(id(t), t._version, t.tolist()) for t in [*model.parameters(), *model.buffers()]],
        "names": [sorted(vars(m)) for m in model.modules()],
    }


def test_a_model_and_its_loaders():
    net = nets.cnn()
    net[5].eval()
    generator = torch.Generator().manual_seed(3)
    stateful, endless = Stateful(), Endless()
    loaders = {
        "train": DataLoader(Noisy(), 8, sampler=RandomSampler(range(9), generator=generator)),
        "val": DataLoader(Noisy(), 4, sampler=stateful),
        "shuffled": DataLoader(Noisy(), 4, shuffle=True),
        "ranks": DataLoader(Noisy(), 4, sampler=DistributedSampler(Noisy(), num_replicas=2, rank=1, seed=4)),
        "stream": DataLoader(endless, 4),
    }
    before = state(net), random_states(), generator.get_state().tolist(), stateful.rng.bit_generator.state
    report = bnguard.forecast(net, loaders)
    assert len(report.forecasts) == 5
    assert any("one sample of val" in note for f in report.forecasts for note in f.notes)
    assert (state(net), random_states(), generator.get_state().tolist(), stateful.rng.bit_generator.state) == before
    assert (stateful.at, endless.given) == (0, 0)


def test_after_an_error_of_the_model():
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.calls = nets.cnn(), []

        def forward(self, x):
            self.calls.append(1)
            torch.rand(3)
            raise RuntimeError("the user's own")

    net = Broken()
    before = state(net), random_states()
    (fact,) = bnguard.forecast(net, DataLoader(Noisy(), 8)).forecasts
    assert fact.stops is None
    assert "the user's own" in fact.unknown
    assert (state(net), random_states(), net.calls) == (*before, [])


def test_a_lazy_model_stays_lazy():
    net = nets.cnn(nn.LazyBatchNorm1d())
    assert bnguard.forecast(net, DataLoader(Noisy(), 8)).forecasts[0].layer == "5"
    assert type(net[5]) is nn.LazyBatchNorm1d


def test_each_size_is_traced_once_and_by_one_copy(monkeypatch):
    from bnguard._trace import trace

    copies, seen = [], []
    copy_for_trace, run = trace.copy_for_trace, trace.Tracer.trace
    monkeypatch.setattr(trace, "copy_for_trace", lambda *a: copies.append(1) or copy_for_trace(*a))
    monkeypatch.setattr(trace.Tracer, "trace", lambda self, i, n, m: seen.append(n) or run(self, i, n, m))
    sizes = [[0] * n for n in (4, 4, 3, 4, 2, 3, 1)] * 50
    bnguard.forecast(nets.spatial(), DataLoader(Noisy(), batch_sampler=sizes), (3, 8, 8))
    assert copies == [1]
    assert sorted(seen)[-3:] == [2, 3, 4]
    assert len(seen) <= 6
