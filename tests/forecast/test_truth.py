"""The forecast against real loops: the step, the layer and the error at which they stop, or that they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from forecast import nets
from forecast.real import Real, epoch, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info, random_split
from torch.utils.data.distributed import DistributedSampler

import bnguard
from bnguard._facts.forecasts import ForecastFact


def images(n: int) -> TensorDataset:
    return TensorDataset(torch.randn(n, 3, 8, 8), torch.zeros(n, dtype=torch.long))


def one(model: nn.Module, loader: Any, inputs: Any = None, **options: Any) -> ForecastFact:
    (fact,) = bnguard.forecast(model, loader, inputs, **options).forecasts
    return fact


def agree(fact: ForecastFact, real: Real) -> None:
    """Step, layer and error are the same, and what is foreseen is known."""
    assert fact.stops is (real.step is not None), (fact, real)
    assert (fact.step, fact.layer, fact.error) == (real.step, real.layer, real.error)


LOADERS: dict[str, Callable[[], DataLoader[Any]]] = {
    "9 by 8": lambda: DataLoader(images(9), 8, shuffle=True),
    "8 by 8": lambda: DataLoader(images(8), 8),
    "drop_last": lambda: DataLoader(images(9), 8, drop_last=True),
    "batch size 1": lambda: DataLoader(images(3), 1, shuffle=True),
    "one sample": lambda: DataLoader(images(1), 8),
    "nothing": lambda: DataLoader(images(5), 8, drop_last=True),
    "threes": lambda: DataLoader(images(11), 4),
    "buckets": lambda: DataLoader(images(12), batch_sampler=[[0, 1, 2, 3], [4], [5, 6, 7], [8, 9, 10]]),
    "own sampler": lambda: DataLoader(images(20), 4, sampler=[3, 1, 4, 1, 5]),
}

MODELS: dict[str, Callable[[], nn.Module]] = {
    "cnn": nets.cnn,
    "spatial": nets.spatial,
    "frozen backbone": nets.Frozen,
    "group norm": lambda: nets.cnn(nn.GroupNorm(2, 4)),
    "group norm of one": lambda: nets.cnn(nn.GroupNorm(4, 4)),
    "layer norm": lambda: nets.cnn(nn.LayerNorm(4)),
    "lazy": lambda: nets.cnn(nn.LazyBatchNorm1d()),
    "sync in one process": lambda: nets.cnn(nn.SyncBatchNorm(4)),
    "no statistics kept": lambda: nets.cnn(nn.BatchNorm1d(4, track_running_stats=False)),
    "squeeze": nets.Squeezes,
    "halves": nets.Halves,
    "values decide": nets.Decides,
    "no norm": lambda: nets.cnn(nn.Identity()),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_plain_loop(model: str, loader: str, mode: str):
    torch.manual_seed(0)
    net = MODELS[model]()
    fact = one(net, LOADERS[loader](), mode=mode)
    agree(fact, epoch(net, LOADERS[loader](), mode=mode))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(n=st.integers(1, 30), batch_size=st.integers(1, 10), drop_last=st.booleans(), model=st.sampled_from([*MODELS]))
def test_any_loader(n: int, batch_size: int, drop_last: bool, model: str):
    net, loader = MODELS[model](), DataLoader(images(n), batch_size, drop_last=drop_last)
    agree(one(net, loader), epoch(net, loader))
    numbers = {"n": n, "batch_size": batch_size, "drop_last": drop_last}
    assert one(net, numbers, (3, 8, 8)).step == one(net, loader).step


@pytest.mark.parametrize("n", [9, 33])
def test_a_split(n: int):
    parts = dict(zip(("train", "val", "test"), random_split(images(n), [0.5, 0.3, 0.2]), strict=True))
    loaders = {name: DataLoader(part, 4, shuffle=name == "train") for name, part in parts.items()}
    net = nets.cnn(nn.BatchNorm1d(4, track_running_stats=False))
    for fact in bnguard.forecast(net, loaders).forecasts:
        assert fact.mode == ("train" if fact.loader == "train" else "eval")
        agree(fact, epoch(net, loaders[fact.loader], mode=fact.mode))


@pytest.mark.parametrize("n", [8, 9, 10, 17, 18])
@pytest.mark.parametrize("model", ["cnn", "halves", "spatial"])
def test_ranks(n: int, model: str):
    def loader(rank: int) -> DataLoader[Any]:
        data = images(n)
        return DataLoader(data, 4, sampler=DistributedSampler(data, num_replicas=2, rank=rank))

    net = MODELS[model]()
    fact = one(net, loader(1))
    real = [epoch(net, loader(rank)) for rank in (0, 1)]
    assert real[0] == real[1]
    agree(fact, real[0])
    assert fact.ranks == ((0, 1) if real[0].step else None)


def test_uneven_ranks():
    fact = one(
        nets.cnn(), {"n": 17, "batch_size": 4, "world_size": 4, "sharding": "accelerate", "uneven": True}, (3, 8, 8)
    )
    assert (fact.step, fact.rank, fact.ranks) == (2, 0, (0, 0))  # the fifth batch, one sample, comes to rank 0


class Rows(IterableDataset):
    """Divides its rows between workers as the documentation of PyTorch does it."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __iter__(self):
        info = get_worker_info()
        low, high = 0, self.n
        if info is not None:
            each = -(-self.n // info.num_workers)
            low, high = info.id * each, min((info.id + 1) * each, self.n)
        return iter([torch.randn(3, 8, 8) for _ in range(low, high)])


@pytest.mark.parametrize(("n", "workers"), [(9, 0), (10, 2), (11, 2), (13, 3), (12, 2)])
def test_workers_of_an_iterable_dataset(n: int, workers: int):
    net = nets.cnn()
    loader = DataLoader(Rows(n), 4, num_workers=workers)
    agree(one(net, loader, shard="ceil" if workers else None), epoch(net, loader))


def chunked(x: torch.Tensor, count: int) -> Iterable[torch.Tensor]:
    yield from x.chunk(count)  # what scatter() does with the batch


def in_micro_batches(x: torch.Tensor, count: int) -> Iterable[torch.Tensor]:
    yield from (piece for piece in x.tensor_split(count) if len(piece))


@pytest.mark.parametrize("n", [8, 9, 13, 14, 16, 17])
@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_replicas(n: int, replicas: int):
    net, loader = nets.cnn(), DataLoader(images(n), 8)
    fact = one(net, loader, replicas=replicas)
    real = epoch(net, loader, pieces=partial(chunked, count=replicas))
    agree(fact, real)
    assert fact.replica == real.piece


@pytest.mark.parametrize("n", [8, 9, 12, 15, 16])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_micro_batches(n: int, count: int):
    net, loader = nets.cnn(), DataLoader(images(n), 8)
    fact = one(net, loader, micro_batches=count)
    real = epoch(net, loader, pieces=partial(in_micro_batches, count=count))
    agree(fact, real)
    assert fact.micro_batch == real.piece


class Pairs(Dataset):
    def __len__(self) -> int:
        return 9

    def __getitem__(self, i: int):
        return torch.randn(3, 8, 8), torch.randn(3, 8, 8), i % 2


class Texts(Dataset):
    def __len__(self) -> int:
        return 9

    def __getitem__(self, i: int):
        return {"input_ids": torch.randint(0, 20, (7,)), "attention_mask": torch.ones(7), "label": i}


def test_siamese():
    net, loader = nets.Siamese(), DataLoader(Pairs(), 8)
    agree(one(net, loader), epoch(net, loader, take=lambda b: (b[0], b[1])))


def test_dicts():
    net, loader = nets.Tokens(), DataLoader(Texts(), 8)
    agree(one(net, loader), epoch(net, loader, take=lambda b: {k: b[k] for k in ("input_ids", "attention_mask")}))


@pytest.mark.parametrize("model", [nets.Mixed, nets.WrongWidth])
def test_a_layer_that_refuses_every_batch(model: type[nn.Module]):
    net, loader = model(), DataLoader(images(9), 8)
    report = bnguard.forecast(net, loader, (3, 8, 8))
    agree(report.forecasts[0], epoch(net, loader))
    assert report.forecasts[0].step == 1
    assert [f.code for f in report.findings if f.severity == 3] in (["BN203"], ["RT104"])


def test_frozen_by_hand():
    net = nets.cnn()
    net[5].eval()
    loader = DataLoader(images(9), 8)
    agree(one(net, loader), epoch(net, loader))
    assert any("5 is in eval mode now" in note for note in one(net, loader).notes)
    agree(one(net, loader, keep_modes=True), epoch(net, loader, mode=None))
    assert one(net, loader, keep_modes=True).stops is False


def test_the_forward_stops_for_another_reason():
    net, loader = nets.Reshapes(), DataLoader(images(9), 8)
    fact = one(net, loader)
    real = epoch(net, loader)
    assert (real.step, real.layer, real.error) == (2, None, "RuntimeError")
    assert fact.stops is None
    assert "batch size 1 (step 2 of 2)" in (fact.unknown or "")
    assert "shape '[8, 3, 8, 8]' is invalid" in (fact.unknown or "")
    assert fact.size(8).stops is False


def test_a_stop_after_a_size_that_is_not_known():
    """Eight rows are all that the first layer takes, but two of the batches hold other numbers of them."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets.cnn()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x.view(4, 3, 8, 8) if len(x) > 1 else x)

    loader = DataLoader(images(9), batch_sampler=[[0, 1, 2, 3], [4, 5, 6], [7]])
    fact = one(Net(), loader)
    assert epoch(Net(), loader).error == "RuntimeError"  # at step 2
    assert (fact.stops, fact.step, fact.layer) == (True, 3, "net.5")
    assert any("it may stop before that: at batch size 3 (step 2 of 3)" in note for note in fact.notes)


def test_values_are_not_computed_for_large_batches():
    fact = one(nets.Decides(), DataLoader(images(257), 256))
    assert (fact.size(256).stops, fact.size(1).layer) == (None, "net.5")
    assert "256 samples are too many" in fact.size(256).unknown
    assert (fact.stops, fact.step) == (True, 2)


class Both(nn.Module):
    """One value per channel, and a dtype that batch_norm rejects: the values are checked first."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(6).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(x)


def test_the_error_is_the_one_that_comes_first():
    net, loader = Both(), DataLoader(TensorDataset(torch.randn(1, 6)), 8)
    agree(one(net, loader, (6,)), epoch(net, loader))
    assert one(net, loader, (6,)).error == "ValueError"


def test_synchronised_layers_count_all_ranks():
    """PyTorch's own check, asked as far as a machine without accelerators lets it go."""
    from torch.nn.modules._functions import SyncBatchNorm

    def raises(world: int) -> bool:
        x, w = torch.randn(1, 4), torch.ones(4)
        try:
            SyncBatchNorm.apply(x, w, w, w.clone(), w.clone(), 1e-5, 0.1, None, world)
        except ValueError as error:
            assert "more than 1 value" in str(error)
            return True
        except Exception:
            pass  # beyond the check: there is no process group, nor a kernel for the CPU
        return False

    net = nets.cnn(nn.SyncBatchNorm(4))
    for world in (1, 2, 4):
        numbers = {"n": 9 * world, "batch_size": 8, "world_size": world}
        fact = one(net, numbers, (3, 8, 8))
        assert fact.size(1).stops is fact.stops is raises(world)
    kept = nets.cnn(nn.SyncBatchNorm(4, track_running_stats=False))
    numbers = {"n": 18, "batch_size": 8, "world_size": 2, "mode": "eval"}
    assert one(kept, numbers, (3, 8, 8)).layer == "5"  # nothing is synchronised in eval mode


def test_graphs():
    data = pytest.importorskip("torch_geometric.data")
    loader_of = pytest.importorskip("torch_geometric.loader").DataLoader
    graphs = pytest.importorskip("torch_geometric.nn")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.nodes, self.head = graphs.GCNConv(3, 4), graphs.BatchNorm(4), nn.BatchNorm1d(4)

        def forward(self, graph):
            x = self.nodes(self.conv(graph.x, graph.edge_index))
            return self.head(graphs.global_mean_pool(x, graph.batch))

    edges = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    loader = loader_of([data.Data(x=torch.randn(5, 3), edge_index=edges) for _ in range(9)], batch_size=4)
    net = Net()
    fact = one(net, loader)
    agree(fact, epoch(net, loader))
    assert (fact.step, fact.layer) == (3, "head")
    assert "one sample of loader was fetched to learn the input: a DataBatch" in fact.notes


def test_an_epoch_of_any_length():
    net = nets.spatial()
    loader = DataLoader(range(10**9), 8)  # never fetched: the input is given
    fact = one(net, loader, (3, 8, 8))
    assert (fact.stops, fact.steps) == (False, 125_000_000)
    lone = one(nets.cnn(), {"n": 8 * 10**12 + 1, "batch_size": 8}, (3, 8, 8))
    assert (lone.step, lone.steps, [s.batch_size for s in lone.sizes]) == (10**12 + 1, 10**12 + 1, [8, 1])


class NoLength(IterableDataset):
    def __iter__(self):
        return iter(torch.randn(9, 3, 8, 8))


def test_an_unknown_length():
    assert one(nets.spatial(), DataLoader(NoLength(), 8)).stops is False  # no size from 1 to 8 fails
    assert one(nets.cnn(), DataLoader(NoLength(), 8, drop_last=True)).stops is False
    unsure = one(nets.cnn(), DataLoader(NoLength(), 8))
    assert unsure.stops is None
    assert "has no length" in (unsure.unknown or "")
    assert "a batch of 1, if one comes, stops at 5" in unsure.notes
    counted = one(nets.cnn(), DataLoader(NoLength(), 8), count=True)
    agree(counted, epoch(nets.cnn(), DataLoader(NoLength(), 8)))


def test_data_parallel_says_how_many_replicas_there_are():
    parallel = nn.DataParallel(nets.cnn())
    parallel.device_ids = [0, 1, 2, 3]
    fact = one(parallel, {"n": 9, "batch_size": 9}, (3, 8, 8))
    assert (fact.replica, fact.batch_size, fact.layer) == (None, None, None)  # 3, 3, 3
    fact = one(parallel, {"n": 10, "batch_size": 10}, (3, 8, 8))
    assert (fact.replica, fact.batch_size, fact.layer) == (3, 1, "5")  # 3, 3, 3, 1


def test_a_whole_batch_is_what_one_forward_gets():
    assert list(whole(3)) == [3]
