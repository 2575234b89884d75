"""Datasets and batch samplers that a repaired loader must get right, and what comes out of a loader."""

from __future__ import annotations

from torch.utils.data import IterableDataset, Sampler, get_worker_info


def sizes(loader) -> list[int]:
    return [len(batch) for batch in loader]


def samples(loader) -> list[int]:
    return [int(index) for batch in loader for index in batch]


class Buckets(Sampler):
    """Naive buckets by length: each ends with a tail of its own."""

    def __init__(self, groups: list[list[int]], size: int) -> None:
        self.groups, self.size = groups, size

    def __iter__(self):
        for group in self.groups:
            yield from (group[i : i + self.size] for i in range(0, len(group), self.size))


class Stream(IterableDataset):
    """Shared between the workers in turns."""

    def __init__(self, n: int) -> None:
        self.n, self.start = n, 0

    def __iter__(self):
        worker = get_worker_info()
        step, first = (1, 0) if worker is None else (worker.num_workers, worker.id)
        return iter(range(self.start + first, self.start + self.n, step))


class Sized(Stream):
    def __len__(self) -> int:
        return self.n
