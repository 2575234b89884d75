"""Loaders that are not torch's own; the classes here are shaped as those of the libraries that they are named after."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

import bnguard
from bnguard._audit_loader.follow import NoSampleError, first_sample


def only(loader: Any, **options: Any) -> Any:
    (fact,) = bnguard.audit_loader(loader, **options).loaders
    return fact


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))


# ------------------------------------------------------------------------------------------------- fastai


class FastaiLoader:
    def __init__(self, dataset: Any, bs: int, drop_last: bool = False) -> None:
        self.dataset, self.bs, self.drop_last, self.indexed = dataset, bs, drop_last, True
        self.n: int | None = len(dataset)

    def __len__(self) -> int:
        return sum(1 for _ in iter(self))

    def __iter__(self) -> Any:
        return self.create_batches(self.sample())

    def sample(self) -> Any:
        return range(self.n or 0)

    def create_batches(self, samples: Any) -> Any:
        return map(self.do_batch, self.chunkify([self.do_item(i) for i in samples]))

    def chunkify(self, items: Any) -> Any:
        chunks = [items[i : i + self.bs] for i in range(0, len(items), self.bs)]
        return [c for c in chunks if len(c) == self.bs or not self.drop_last]

    def do_item(self, index: int) -> Any:
        return self.dataset[index]

    def do_batch(self, items: Any) -> Any:
        return torch.stack(items)

    def after_batch(self, batch: Any) -> Any:
        return batch


FastaiLoader.__name__, FastaiLoader.__module__ = "DataLoader", "fastai.data.load"


class TfmdDL(FastaiLoader):
    pass


class FastaiLoaders:
    def __init__(self, *loaders: Any) -> None:
        self.loaders = list(loaders)


FastaiLoaders.__name__, FastaiLoaders.__module__ = "DataLoaders", "fastai.data.core"


@pytest.mark.parametrize(("n", "drop_last"), [(9, False), (9, True), (16, False), (3, True)])
def test_fastais_loader_is_planned_by_its_law(n: int, drop_last: bool) -> None:
    loader = TfmdDL(list(torch.randn(n, 4)), 8, drop_last)
    fact = only(loader)
    assert [s for size, count in fact.streams[0].batches for s in [size] * count] == [len(b) for b in loader]
    assert (fact.samples, fact.batch_size, fact.steps) == (n, 8, len(loader))


def test_what_is_told_of_fastais_loader_is_what_helps_there() -> None:
    report = bnguard.audit_loader(TfmdDL(list(torch.randn(9, 4)), 8))
    assert [f.code for f in report.findings] == ["DL101"]
    assert not {"merge-tail", "balance"} & {way.kind for way in report.suggestions}
    assert [advice.kind for f in report.findings for advice in f.remedies] == ["batch-size"]
    (forecast,) = bnguard.forecast(net(), TfmdDL(list(torch.randn(9, 4)), 8)).forecasts
    assert (forecast.stops, forecast.step) == (True, 2)
    with pytest.raises(bnguard.BnguardError) as caught:
        bnguard.repair.merge_tail(TfmdDL(list(torch.randn(9, 4)), 8))
    assert "loader.new(bs=…)" in (caught.value.hint or "")
    with pytest.raises(bnguard.BnguardError, match=r"the DataLoader of fastai\.data\.load is no DataLoader of torch"):
        bnguard.repair.merge_tail(FastaiLoader(list(torch.randn(9, 4)), 8))


def test_fastais_loaders_have_their_names() -> None:
    report = bnguard.audit_loader(FastaiLoaders(TfmdDL([torch.ones(4)] * 16, 8), TfmdDL([torch.ones(4)] * 9, 8)))
    assert [(f.name, f.mode, f.steps) for f in report.loaders] == [("train", "train", 2), ("valid", "eval", 2)]


def test_a_fastai_loader_with_batches_of_its_own_says_how_to_go_on() -> None:
    class Bucketed(TfmdDL):
        def chunkify(self, items: Any) -> Any:
            return [items]

    endless = TfmdDL([torch.ones(4)] * 9, 8)
    endless.n = None
    for loader in (Bucketed([torch.ones(4)] * 9, 8), endless):
        with pytest.raises(bnguard.BnguardError) as caught:
            bnguard.audit_loader(loader)
        assert "preflight" in (caught.value.hint or "")


# ---------------------------------------------------------------------------------------------- webdataset


class Samples(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(torch.randn(9, 4))


class WebLoader:
    def __init__(self, *stages: Any) -> None:
        self.pipeline = list(stages)

    def __iter__(self) -> Any:
        batches = self.pipeline[0]
        for stage in self.pipeline[1:]:
            batches = stage(batches)
        return iter(batches)


WebLoader.__module__ = "webdataset.compat"


def test_a_web_loader_is_the_loader_inside_unless_stages_follow() -> None:
    loader = WebLoader(DataLoader(Samples(), batch_size=8))
    assert only(loader, count=True).streams[0].batches == ((8, 1), (1, 1))
    assert [len(b) for b in bnguard.repair.merge_tail(loader)] == [9]
    assert [len(b) for b in loader] == [8, 1]
    fixed = bnguard.repair.merge_tail(loader)
    assert bnguard.repair.merge_tail(fixed) is fixed


def test_the_stages_of_a_web_loader_make_the_batches() -> None:
    loader = WebLoader(
        DataLoader(Samples(), batch_size=4), lambda batches: (part for b in batches for part in b.split(3))
    )
    assert "--count" in only(loader).unknown
    assert only(loader, count=True).streams[0].batches == ((3, 1), (1, 1), (3, 1), (1, 2))
    (forecast,) = bnguard.forecast(net(), loader, count=True).forecasts
    assert (forecast.stops, forecast.step) == (True, 2)
    with pytest.raises(bnguard.BnguardError) as caught:
        bnguard.repair.merge_tail(loader)
    assert "batch_size" in (caught.value.hint or "")


# ------------------------------------------------------------------------------------------ batch_size=None


class Batches(IterableDataset[Any]):
    def __init__(self, sizes: tuple[int, ...] = (8, 8, 1)) -> None:
        self.sizes = sizes

    def __iter__(self) -> Any:
        return iter([(torch.randn(n, 4), {"y": torch.zeros(n)}) for n in self.sizes])


def test_batches_that_the_dataset_makes_are_counted_on_request() -> None:
    loader = DataLoader(Batches(), batch_size=None)
    assert "--count" in only(loader).unknown
    report = bnguard.audit_loader(loader, count=True)
    assert report.loaders[0].streams[0].batches == ((8, 2), (1, 1))
    assert report.loaders[0].first_single.step == 3
    (finding,) = report.findings
    assert (finding.code, [a.kind for a in finding.remedies]) == ("DL101", ["own-batches"])
    assert not bnguard.audit_loader(DataLoader(Batches((8, 2)), batch_size=None), count=True).findings


def test_batches_that_nothing_measures_are_not_known() -> None:
    class Words(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(["a", "b"])

    assert "no size" in only(DataLoader(Words(), batch_size=None), count=True).unknown
    assert "sizes are not known" in only(DataLoader(Batches(), batch_size=None, num_workers=2), count=True).unknown


def test_a_batch_of_the_dataset_tells_the_input() -> None:
    (forecast,) = bnguard.forecast(net(), DataLoader(Batches(), batch_size=None), count=True).forecasts
    assert (forecast.stops, forecast.step) == (True, 3)
    (unknown,) = bnguard.forecast(net(), DataLoader(Batches(), batch_size=None)).forecasts
    assert (unknown.stops, "--count" in (unknown.unknown or "")) == (None, True)


def test_a_sample_of_batches_that_a_dataset_makes_has_any_size() -> None:
    class Table(Dataset[Any]):
        def __init__(self) -> None:
            self.values = torch.randn(9, 4)

        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: Any) -> Any:
            return self.values[index], torch.tensor(3.0), torch.zeros(2)

    batches = BatchSampler(range(9), 4, drop_last=False)
    sample = first_sample(DataLoader(Table(), sampler=batches, batch_size=None))
    for size in (1, 4, 7):
        rows, number, other = sample.batch(size)
        assert (rows.shape, number.shape, other.shape) == ((size, 4), (), (2,))
    with pytest.raises(NoSampleError, match="batch_size=None"):
        first_sample(DataLoader(["a", "b"], batch_size=None))
