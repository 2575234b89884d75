"""One sample of a loader, as the loader itself would fetch and collate it."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Subset

from bnguard._audit_loader.follow import NoSampleError, first_sample


class Squares(Dataset):
    def __len__(self) -> int:
        return 9

    def __getitem__(self, i: int):
        return torch.tensor(float(i * i))


class Bulk(Squares):
    def __getitem__(self, i: int):
        raise AssertionError("DataLoader prefers __getitems__")

    def __getitems__(self, indices: list[int]):
        return [torch.tensor(-1.0) for _ in indices]


class Stream(IterableDataset):
    def __iter__(self):
        return iter([7.0, 8.0])


@pytest.mark.parametrize(
    ("loader", "first"),
    [
        (lambda: DataLoader(Squares(), 4), 0.0),
        (lambda: DataLoader(Squares(), 4, sampler=[3, 2]), 9.0),
        (lambda: DataLoader(Squares(), batch_sampler=[[2, 1], [4]]), 4.0),
        (lambda: DataLoader(Squares(), batch_sampler=BatchSampler([5, 6], 2, False)), 25.0),
        (lambda: DataLoader(Subset(Squares(), [4, 5]), 2), 16.0),
        (lambda: DataLoader(Bulk(), 4), -1.0),
        (lambda: DataLoader(Stream(), 2), 7.0),
    ],
)  # fmt: skip
def test_the_first_one(loader, first: float):
    one = loader()
    sample = first_sample(one)
    assert float(sample.item) == float(next(iter(one))[0]) == first
    assert sample.batch(3).tolist() == [first] * 3


def test_shuffled_as_the_loader_would():
    shuffled = DataLoader(Squares(), 4, shuffle=True, generator=torch.Generator().manual_seed(5))
    item = first_sample(shuffled).item
    assert first_sample(shuffled).item == item


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (lambda: DataLoader(Squares(), batch_size=None), "a batch already"),
        (lambda: DataLoader(Subset(Squares(), []), 4), "no sample"),
        (lambda: DataLoader(Subset(Squares(), [[]]), 4), "raised"),
    ],
)
def test_none_is_to_be_had(loader, words: str):
    with pytest.raises(NoSampleError, match=words):
        first_sample(loader())
