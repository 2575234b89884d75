"""Which batches of an epoch are given, at which places."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from bnguard._preflight import passes
from bnguard._preflight.outcome import Settings
from bnguard._preflight.passes import Pass, way_of
from bnguard._preflight.patches import watching
from bnguard._preflight.recorder import Recorder

SOON = Settings(budget=0.0, deadline=float("inf"))
LATER = Settings(budget=60.0, deadline=float("inf"))


@pytest.fixture
def no_epoch_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run none as it is, as if it took hours."""
    monkeypatch.setattr(passes, "SHARE", 0.0)


def given_by(loader: DataLoader[Any], chosen: Settings = LATER) -> tuple[Pass, list[Any]]:
    recorder = Recorder(chosen)
    with watching(recorder):
        got = [batch for batch in loader]  # noqa: C416 - a loop that counts nothing
    return recorder.loaders[0].passes[0], got


def data(n: int) -> TensorDataset:
    return TensorDataset(torch.arange(n))


@pytest.mark.usefixtures("no_epoch_fits")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_a_long_epoch_gives_its_first_batches_and_its_last(workers: int, persistent: bool) -> None:
    loader = DataLoader(data(1001), 2, num_workers=workers, persistent_workers=persistent and workers > 0)
    run, got = given_by(loader)
    assert run.steps == len(loader) == 501
    assert len(got) < 100
    assert got[0][0].tolist() == [0, 1]
    assert got[-1][0].tolist() == [1000]
    assert (run.given[-1].step, run.given[-1].size) == (501, 1)
    assert run.left_out == 501 - len(got)


@pytest.mark.parametrize("n", [9, 4001])
def test_an_epoch_is_given_whole_where_that_fits_the_time(n: int) -> None:
    run, got = given_by(DataLoader(data(n), 4))
    assert [len(x) for (x,) in got] == [4] * (n // 4) + [1]
    assert (run.left_out, run.ended, run.steps) == (0, True, n // 4 + 1)


def test_what_a_usual_step_takes_decides_and_not_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.chain([0.0, 0.0, 20.0], itertools.count(20.001, 0.001))
    monkeypatch.setattr(passes.time, "monotonic", lambda: next(now))
    assert given_by(DataLoader(data(2001), 2))[0].left_out == 0
    slow = itertools.count(0.0, 0.1)
    monkeypatch.setattr(passes.time, "monotonic", lambda: next(slow))
    run, got = given_by(DataLoader(data(2001), 2))
    assert (run.given[-1].step, run.given[-1].size) == (1001, 1)
    assert len(got) <= passes.PREFIX + 2


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=300))
def test_every_size_is_given_at_its_place(sizes: list[int]) -> None:
    batches = [[0] * size for size in sizes]
    run, got = given_by(DataLoader(data(1), batch_sampler=batches))
    assert {len(x) for (x,) in got} == set(sizes)
    assert [len(x) for (x,) in got] == [sizes[batch.step - 1] for batch in run.given]
    assert run.given[-1].step == len(sizes) == run.steps
    assert [b.step for b in run.given] == sorted(b.step for b in run.given)


class Stream(IterableDataset[Tensor]):
    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.zeros(self.n))


@pytest.mark.usefixtures("no_epoch_fits")
def test_a_stream_is_read_to_its_end() -> None:
    run, got = given_by(DataLoader(Stream(1201), 2))
    assert (len(got[0]), len(got[-1])) == (2, 1)
    assert (run.given[-1].step, run.steps) == (601, 601)
    assert len(got) < 600


class Bags(Dataset[Tensor]):
    def __len__(self) -> int:
        return 300

    def __getitem__(self, i: int) -> Tensor:
        return torch.zeros(1 if i == 200 else 3 + i % 3)


@pytest.mark.usefixtures("no_epoch_fits")
def test_items_that_differ_are_fetched_and_looked_at() -> None:
    run, got = given_by(DataLoader(Bags(), 1))
    assert run.way == "fetched"
    assert (1, 1) in [tuple(x.shape) for x in got]
    assert next(b.step for b, x in zip(run.given, got, strict=True) if x.shape[1] == 1) == 201
    assert len(got) < 300


def test_what_the_time_does_not_allow_is_not_proved() -> None:
    run, got = given_by(DataLoader(Bags(), 1, collate_fn=lambda items: items[0]), SOON)
    assert run.unproved == "its collate function can decide how many rows a batch has"
    assert len(got) < 10


def test_what_decides_the_rows_of_a_batch() -> None:
    class Fetching(TensorDataset):
        def __getitems__(self, indices: list[int]) -> list[Any]:
            return [self[i] for i in indices]

    class Own(DataLoader[Any]):
        def __iter__(self) -> Any:
            return super().__iter__()

    inside = torch.utils.data.Subset(Fetching(torch.zeros(4)), [0, 1])
    plain, collated = DataLoader(data(4), 2), DataLoader(data(4), 2, collate_fn=len)
    loaders = [
        plain,
        collated,
        DataLoader(data(4), None),
        DataLoader(Stream(3), 2),
        DataLoader(inside, 2),
        Own(data(4), 2),
    ]
    assert [way_of(x)[0] for x in loaders] == ["indices", "fetched", "fetched", "fetched", "fetched", "whole"]


@pytest.mark.usefixtures("no_epoch_fits")
def test_a_sampler_without_an_end_gives_what_it_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def __iter__(self) -> Iterator[list[int]]:
            while True:
                yield [0, 1]

    monkeypatch.setattr(passes, "MOST_SECONDS_OF_INDICES", 0.0)
    recorder = Recorder(LATER)
    with watching(recorder):
        iterator = iter(DataLoader(data(4), batch_sampler=Endless()))  # type: ignore[arg-type]
        got = [batch for _, batch in zip(range(50), (b for b in iterator), strict=False)]
    assert len(got) == 50
    assert recorder.loaders[0].passes[0].left_out >= 0
