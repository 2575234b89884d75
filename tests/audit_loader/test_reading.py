"""Whether a loader has to be read, and what is read of it."""

from __future__ import annotations

import random

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

import bnguard
from bnguard._audit_loader.reading import is_own_loader, kind_of, read, why_read


class Vectors(Dataset):
    def __len__(self) -> int:
        return 9

    def __getitem__(self, i: int):
        return torch.full((2,), float(i))


class Lists(Vectors):
    def __getitems__(self, indices: list[int]):
        return [self[i] for i in indices]


class Endless(IterableDataset):
    def __iter__(self):
        return iter(lambda: torch.zeros(2), None)


class Sized(IterableDataset):
    def __len__(self) -> int:
        return 3

    def __iter__(self):
        return iter(torch.zeros(3, 2))


class Own(DataLoader):
    def __iter__(self):
        yield from super().__iter__()


class Wrapper:
    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader

    def __iter__(self):
        yield from self.loader


def stacked(samples):
    return torch.stack(samples)


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (lambda: DataLoader(Vectors(), 4, shuffle=True), None),
        (lambda: DataLoader(Vectors(), 1), None),
        (lambda: DataLoader(Subset(Vectors(), [1, 2]), 4, collate_fn=default_collate), None),
        (lambda: DataLoader(TensorDataset(torch.zeros(9, 2)), batch_sampler=[[1], [2, 3]]), None),
        (lambda: DataLoader([torch.zeros(n, 2) for n in (1, 2)], 1), "differ in their shapes"),
        (lambda: DataLoader([torch.zeros(n, 2) for n in (1, 2)], batch_sampler=[[0], [1]]), "differ in their shapes"),
        (lambda: DataLoader(Vectors(), 4, collate_fn=stacked), "collate function stacked"),
        (lambda: DataLoader(Lists(), 4), "__getitems__"),
        (lambda: DataLoader(Subset(Lists(), [1]), 4), "__getitems__"),
        (lambda: DataLoader(ConcatDataset([Vectors(), Lists()]), 4), "__getitems__"),
        (lambda: DataLoader(Vectors(), batch_size=None), "batch_size=None"),
        (lambda: Own(Vectors(), 4), "Own iterates"),
        (lambda: Wrapper(DataLoader(Vectors(), 4)), "Wrapper gives"),
        (lambda: DataLoader(Endless(), 4), None),
        (lambda: DataLoader(Sized(), 4), "a stream"),
        (lambda: bnguard.repair.merge_tail(DataLoader(Vectors(), 4)), None),
    ],
)
def test_why(loader, words: str | None):
    why = why_read(loader(), streams=False)
    assert (why is None) if words is None else (words in why)


def test_streams_on_request():
    assert why_read(DataLoader(Endless(), 4), streams=True)


def test_own_loaders():
    assert is_own_loader(Wrapper([torch.zeros(2)]))
    for other in (
        Wrapper(DataLoader(Vectors())),
        DataLoader(Vectors()),
        [1],
        {},
        "a",
        iter([1]),
        torch.zeros(2),
        Wrapper,
    ):
        assert not is_own_loader(other)


def test_an_epoch_without_chance_is_read_twice():
    found = read(DataLoader(Vectors(), 4, collate_fn=stacked), "")
    assert [[kind.rows for kind in epoch.kinds] for epoch in found.epochs] == [[4, 4, 1]] * 2
    assert (found.drawn, found.unfinished, found.empty) == (False, None, None)


def test_an_epoch_with_chance_is_read_more_often():
    found = read(DataLoader(Vectors(), 4, shuffle=True, collate_fn=stacked), "")
    assert found.drawn
    assert len(found.epochs) == 16
    seeded = DataLoader(Vectors(), 4, shuffle=True, collate_fn=stacked, generator=torch.Generator().manual_seed(1))
    assert not read(seeded, "").drawn


def test_a_batch_of_which_nothing_is_left():
    def half(samples):
        return torch.stack([x for x in samples if random.random() < 0.5])

    found = read(DataLoader(Vectors(), 4, collate_fn=half), "")
    assert "stack expects" in (found.empty or "")


def test_rows():
    images = tuple(torch.zeros(3, 5, 5 + n) for n in range(4))
    assert kind_of([torch.zeros(7, 2), torch.zeros(7)]).rows == 7
    assert kind_of({"id": ["a"], "x": torch.zeros(7, 2)}).rows == 7
    assert kind_of((images, ({}, {}, {}, {}))).rows == 4
    assert kind_of(3).rows == 0
    assert kind_of(torch.zeros(7, 2)) != kind_of(torch.zeros(7, 3))
