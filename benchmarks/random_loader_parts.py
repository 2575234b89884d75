"""Datasets, samplers, collate functions and loader classes as people write them, for ``random_loaders.py``."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

Items = list[Tensor]
"""The samples of a dataset, one tensor each."""

# ------------------------------------------------------------------------------------------------------------ datasets


class Plain(Dataset[Any]):
    """Gives the items, each through ``form`` (a pair with its label, a dict …)."""

    def __init__(self, items: Items, form: Callable[[Tensor, int], Any]) -> None:
        self.items = items
        self.form = form

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - of any form
        return self.form(self.items[index], index % 2)


class Noisy(Plain):
    """Augments, with random numbers."""

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - of any form
        return self.form(self.items[index] + 0.1 * torch.randn(()), index % 2)


class SomeMissing(Plain):
    """Gives None for files that cannot be read."""

    missing: frozenset[int] = frozenset()

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - of any form
        return None if index in self.missing else super().__getitem__(index)


class OftenMissing(Plain):
    """Gives None now and then, by chance."""

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - of any form
        return None if random.random() < 0.2 else super().__getitem__(index)


class Bulk(Plain):
    """Fetches whole batches, and every sample once however often it is asked for."""

    once = False

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[i] for i in (dict.fromkeys(indices) if self.once else indices)]


class BulkOfGood(SomeMissing):
    """Fetches whole batches, without what is missing."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[i] for i in indices if i not in self.missing]


class Stream(IterableDataset[Any]):
    """Gives its items in order.

    Args:
        items: of all workers.
        form: as for ``Plain``.
        share: which of them one worker of several gives.
        keeps: which of them are given at all.

    """

    def __init__(
        self,
        items: Items,
        form: Callable[[Tensor, int], Any],
        share: Callable[[Items, int, int], Sequence[Tensor]],
        keeps: Callable[[Tensor], bool],
    ) -> None:
        self.items = items
        self.form = form
        self.share = share
        self.keeps = keeps

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        own = self.items if info is None else self.share(self.items, info.id, info.num_workers)
        return (self.form(x, 0) for x in own if self.keeps(x))


class SizedStream(Stream):
    """Says how many items it has; where it leaves some out, that is too many."""

    def __len__(self) -> int:
        return len(self.items)


class UsedUp(IterableDataset[Any]):
    """Can be read once."""

    def __init__(self, items: Items, form: Callable[[Tensor, int], Any]) -> None:
        self.rows = (form(x, 0) for x in items)

    def __iter__(self) -> Iterator[Any]:
        return self.rows


def ceil_share(items: Items, worker: int, workers: int) -> Items:
    each = -(-len(items) // workers)
    return items[worker * each : (worker + 1) * each]


def stride_share(items: Items, worker: int, workers: int) -> Items:
    return items[worker::workers]


def whole_share(items: Items, worker: int, workers: int) -> Items:  # noqa: ARG001 - every worker gives everything
    return items


# ------------------------------------------------------------------------------------------------------------ samplers


class Own(Sampler[int]):
    """Yields the indices that a function gives for each epoch; its length is always that of the dataset."""

    def __init__(self, n: int, draw: Callable[[int, int], Iterable[int]]) -> None:
        self.n = n
        self.draw = draw
        self.epoch = 0

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return iter(self.draw(self.n, self.epoch))


OWN_SAMPLERS: dict[str, Callable[[int, int], Iterable[int]]] = {
    "shorter": lambda n, _: range(max(1, n // 2)),
    "longer": lambda n, _: [*range(n), *range(min(n, 3))],
    "every epoch one less": lambda n, epoch: range(max(1, n + 1 - epoch)),
    "every epoch one more": lambda n, epoch: [i % n for i in range(n - 1 + epoch)],
    "shuffled": lambda n, _: random.sample(range(n), n),
    "shuffled by the epoch": lambda n, epoch: random.Random(epoch).sample(range(n), n),
}
RANDOM_LENGTH: Callable[[int, int], Iterable[int]] = lambda n, _: range(random.randint(1, n))  # noqa: E731


class Batches:
    """A batch sampler of the user's, that a function makes for each epoch."""

    def __init__(self, n: int, size: int, make: Callable[[int, int, int], Iterable[list[int]]]) -> None:
        self.n = n
        self.size = size
        self.make = make
        self.epoch = 0

    def __iter__(self) -> Iterator[list[int]]:
        self.epoch += 1
        yield from self.make(self.n, self.size, self.epoch)


def plain_batches(n: int, size: int, epoch: int = 0) -> list[list[int]]:  # noqa: ARG001 - the same in all epochs
    return list(BatchSampler(range(n), size, drop_last=False))


def buckets(n: int, size: int, epoch: int) -> list[list[int]]:  # noqa: ARG001 - the same in all epochs
    groups = (range(k, n, 3) for k in range(3))
    return [batch for group in groups for batch in BatchSampler(group, size, drop_last=False)]


def shuffled_buckets(n: int, size: int, epoch: int) -> list[list[int]]:
    found = buckets(n, size, epoch)
    return random.sample(found, len(found))


def merged_tail(n: int, size: int, epoch: int) -> list[list[int]]:
    found = plain_batches(n, size, epoch)
    return [*found[:-2], found[-2] + found[-1]] if len(found) > 1 and len(found[-1]) < size else found


def growing(n: int, size: int, epoch: int) -> list[list[int]]:
    return plain_batches(n, max(1, size - 1 + epoch))


def of_random_size(n: int, size: int, epoch: int) -> Iterator[list[int]]:  # noqa: ARG001 - by chance
    at = 0
    while at < n:
        count = random.randint(1, size)
        yield list(range(at, min(n, at + count)))
        at += count


BATCH_SAMPLERS = (plain_batches, buckets, shuffled_buckets, merged_tail, growing)

# ------------------------------------------------------------------------------------------------------------ collating


class Labelled(NamedTuple):
    """A batch with names."""

    x: Tensor
    y: Tensor


class Holder:
    """A batch as an object of a class of its own."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x = x
        self.y = y


def as_it_is(x: Tensor, label: int) -> Any:  # noqa: ANN401, ARG001 - of any form
    return x


def pair(x: Tensor, label: int) -> Any:  # noqa: ANN401 - of any form
    return x, label


def named(x: Tensor, label: int) -> Any:  # noqa: ANN401 - of any form
    return {"x": x, "label": label}


def tensor_of(batch: Any) -> Any:  # noqa: ANN401 - of any form
    """Return the part of a batch that a training loop gives to the model."""
    if isinstance(batch, dict):
        return batch["x"]
    if isinstance(batch, Holder):
        return batch.x
    return batch[0] if isinstance(batch, (tuple, list)) else batch


Change = Callable[[Tensor], Tensor]


class Collate:
    """Stacks what is left of a list of samples, and changes the rows.

    Args:
        keep: the samples that are left.
        join: from their tensors to the rows of a batch.
        form: ``like`` the samples, or ``named`` or ``holder``.

    """

    def __init__(
        self,
        keep: Callable[[list[Any]], list[Any]] = lambda samples: samples,
        join: Callable[[list[Tensor]], Tensor] = torch.stack,
        form: str = "like",
    ) -> None:
        self.keep = keep
        self.join = join
        self.form = form

    def __call__(self, samples: list[Any]) -> Any:  # noqa: ANN401 - of any form
        kept = self.keep(samples)
        rows = self.join([tensor_of(sample) for sample in kept])
        labels = torch.zeros(len(rows))
        if self.form == "named":
            return Labelled(rows, labels)
        if self.form == "holder":
            return Holder(rows, labels)
        like = kept[0]
        return (
            {"x": rows, "label": labels}
            if isinstance(like, dict)
            else [rows, labels]
            if isinstance(like, tuple)
            else rows
        )


def without_missing(samples: list[Any]) -> list[Any]:
    return [s for s in samples if s is not None]


def of_large_values(samples: list[Any]) -> list[Any]:
    return [s for s in samples if float(tensor_of(s).sum()) > -1.0] or samples[:1]


def by_chance(samples: list[Any]) -> list[Any]:
    return [s for s in samples if random.random() < 0.8] or samples[:1]


def even_number(samples: list[Any]) -> list[Any]:
    return samples[: len(samples) // 2 * 2] or samples


def two_views(rows: list[Tensor]) -> Tensor:
    return torch.cat([torch.stack(rows), torch.stack(rows) + 0.01])


def joined_in_pairs(rows: list[Tensor]) -> Tensor:
    return torch.stack([sum(rows[i : i + 2], torch.zeros(())) for i in range(0, len(rows), 2)])


def padded(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


# ------------------------------------------------------------------------------------------------------- loader classes


class WithoutShort(DataLoader[Any]):
    """Leaves out batches of one sample."""

    def __iter__(self) -> Any:  # noqa: ANN401 - as in torch
        return (batch for batch in super().__iter__() if len(tensor_of(batch)) > 1)


class InHalves(DataLoader[Any]):
    """Gives every batch in two parts."""

    def __iter__(self) -> Any:  # noqa: ANN401 - as in torch
        for batch in super().__iter__():
            x = tensor_of(batch)
            yield from (part for part in (x[: len(x) // 2], x[len(x) // 2 :]) if len(part))


class Passing(DataLoader[Any]):
    """Gives the batches as they are, as one that moves them to a device does."""

    def __iter__(self) -> Any:  # noqa: ANN401 - as in torch
        yield from super().__iter__()


class Prefetcher:
    """Holds a loader, and gives its batches."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        yield from self.loader


class FirstRows(Prefetcher):
    """Gives one row less than the loader that it holds."""

    def __iter__(self) -> Iterator[Any]:
        return (x[:-1] if len(x) > 1 else x for x in map(tensor_of, self.loader))


class ByHand:
    """A loader without torch's: slices of one tensor."""

    def __init__(self, x: Tensor, size: int) -> None:
        self.x = x
        self.size = size

    def __len__(self) -> int:
        return len(range(0, len(self.x), self.size))

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.x))
        return (self.x[order[i : i + self.size]] for i in range(0, len(order), self.size))


LOADER_CLASSES: tuple[type[DataLoader[Any]], ...] = (WithoutShort, InHalves, Passing)
