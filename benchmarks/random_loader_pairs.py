"""Random pairs of a model and a loader, each of its seed; their parts are in ``random_loader_parts.py``."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import random_loader_parts as parts
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from random_loader_parts import Collate, Items, tensor_of
from torch import Tensor, nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)
from torch.utils.data.distributed import DistributedSampler

import bnguard

FEATURES = 4

# -------------------------------------------------------------------------------------------------------------- models


class Op(nn.Module):
    """A step of a model that a function describes."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)


class StaysFrozen(nn.BatchNorm1d):
    """In eval mode whatever is called."""

    def train(self, mode: bool = True) -> StaysFrozen:  # noqa: ARG002 - as of any module
        return super().train(mode=False)


class Pooled(nn.Module):
    """As in ASPP: a branch that normalises the mean of the whole map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(FEATURES, FEATURES, 3, padding=1), nn.BatchNorm2d(FEATURES))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(FEATURES, FEATURES, 1), nn.BatchNorm2d(FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + F.interpolate(self.pool(x), x.shape[-2:])


class Takes(nn.Module):
    """Gives a model what it needs of the whole batch."""

    def __init__(self, net: nn.Module, take: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.net = net
        self.take = take

    def forward(self, batch: Any) -> Tensor:  # noqa: ANN401 - of any form
        return self.net(self.take(batch))


def _rows(*more: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, FEATURES), *more, nn.Linear(FEATURES, 2))


def _maps(*more: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(FEATURES, FEATURES, 3, padding=1), *more, Op(lambda x: x.mean((2, 3))), nn.Linear(FEATURES, 2)
    )


ROW_MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: _rows(nn.BatchNorm1d(FEATURES), nn.ReLU()),
    "mlp without statistics": lambda: _rows(nn.BatchNorm1d(FEATURES, track_running_stats=False)),
    "layer norm": lambda: _rows(nn.LayerNorm(FEATURES)),
    "frozen": lambda: _rows(StaysFrozen(FEATURES).eval()),
    "group norm": lambda: _rows(nn.GroupNorm(2, FEATURES)),
    "group norm of one": lambda: _rows(nn.GroupNorm(FEATURES, FEATURES)),
    "squeeze": lambda: _rows(Op(lambda x: x.unsqueeze(-1).squeeze()), nn.BatchNorm1d(FEATURES)),
    "doubles": lambda: _rows(Op(lambda x: torch.cat([x, -x])), nn.BatchNorm1d(FEATURES)),
    "halves": lambda: _rows(Op(lambda x: x[: (len(x) + 1) // 2]), nn.BatchNorm1d(FEATURES)),
    "only pairs": lambda: _rows(Op(lambda x: x if len(x) == 1 else x.view(len(x) // 2, 2, FEATURES).mean(1))),
}
MASKED = lambda: _rows(Op(lambda x: x[x[:, 0] > 0]), nn.BatchNorm1d(FEATURES))  # noqa: E731
MAP_MODELS: dict[str, Callable[[], nn.Module]] = {
    "cnn": lambda: _maps(nn.BatchNorm2d(FEATURES)),
    "cnn to one value": lambda: _maps(nn.AdaptiveMaxPool2d(1), nn.BatchNorm2d(FEATURES)),
    "pooled branch": lambda: _maps(Pooled()),
    "group norm": lambda: _maps(nn.GroupNorm(2, FEATURES)),
    "instance norm": lambda: _maps(nn.InstanceNorm2d(FEATURES)),
    "instance norm of one value": lambda: _maps(nn.AdaptiveAvgPool2d(1), nn.InstanceNorm2d(FEATURES)),
    "squeeze": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), Op(torch.squeeze), nn.BatchNorm1d(FEATURES)),
}
LENGTH_MODELS: dict[str, Callable[[], nn.Module]] = {
    "every step": lambda: _rows(Op(lambda x: x.flatten(0, 1)), nn.BatchNorm1d(FEATURES)),
    "convolution": lambda: nn.Sequential(Op(lambda x: x.transpose(1, 2)), nn.Conv1d(FEATURES, 3, 1), nn.BatchNorm1d(3)),
    "mean of all steps": lambda: _rows(Op(lambda x: x.mean(1)), nn.BatchNorm1d(FEATURES)),
    "layer norm": lambda: _rows(nn.LayerNorm(FEATURES)),
}


# ----------------------------------------------------------------------------------------------------------- generator


class Pair(NamedTuple):
    """A model, what feeds it, how a loop calls it, and of what both are made."""

    model: nn.Module
    loader: Any
    call: Callable[[nn.Module, Any], Tensor]
    inputs: tuple[int, ...] | None
    made_of: str


class Generator:
    """Makes one pair of a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.n = self.rng.randint(1, 40)
        self.size = self.rng.choice((1, 2, 3, 4, 5, 7, 8, 8, 16))
        self.words: list[str] = [f"{self.n} by {self.size}"]

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _named(self, choices: dict[str, Any]) -> Any:  # noqa: ANN401 - of any dict
        name = self.rng.choice(list(choices))
        self.words.append(name)
        return choices[name]

    def pair(self) -> Pair:
        """Return a model and what feeds it."""
        shape = self.rng.choice(((FEATURES,), (FEATURES,), (FEATURES, 4, 4)))
        kind = self.rng.choices(("map-style", "stream", "lengths", "whole batches", "by hand"), (72, 14, 6, 4, 4))[0]
        self.words.append(kind)
        if kind == "lengths":
            return self._of_lengths()
        model = self._model(shape)
        if kind == "by hand":
            return self._pair(model, parts.ByHand(torch.randn(self.n, *shape), self.size), None)
        if kind == "whole batches":
            pieces = [torch.randn(self.rng.randint(1, 5), *shape) for _ in range(self.n)]
            loader: Any = DataLoader(parts.Plain(pieces, parts.as_it_is), batch_size=None, shuffle=self._chance(0.5))
            return self._pair(model, loader, None)
        items = list(torch.randn(self.n, *shape))
        form = self._named({"tensors": parts.as_it_is, "pairs": parts.pair, "dicts": parts.named})
        if kind == "stream":
            return self._pair(model, self._stream(items, form), None)
        loader, plain = self._map_style(items, form)
        return self._pair(model, loader, shape if plain and self._chance(0.15) else None)

    def _pair(self, model: nn.Module, loader: Any, inputs: tuple[int, ...] | None) -> Pair:  # noqa: ANN401
        whole = inputs is None and self._chance(0.2)
        if whole:
            self.words.append("whole batch")
            model = Takes(model, tensor_of)
        said = "; input given" if inputs else ""
        return Pair(model, loader, lambda m, b: m(b if whole else tensor_of(b)), inputs, ", ".join(self.words) + said)

    def _model(self, shape: tuple[int, ...]) -> nn.Module:
        if len(shape) > 1:
            return self._named(MAP_MODELS)()
        if self._chance(0.03):
            self.words.append("masked")
            return MASKED()
        return self._named(ROW_MODELS)()

    def _of_lengths(self) -> Pair:
        items = [torch.randn(self.rng.choice((1, 1, 2, 3)), FEATURES) for _ in range(self.n)]
        model = self._named(LENGTH_MODELS)()
        join = self._named({"padded": parts.padded, "stacked": None})
        if join is None:
            return self._pair(model, DataLoader(parts.Plain(items, parts.pair), 1, shuffle=self._chance(0.3)), None)
        data = parts.Plain(items, parts.pair)
        return self._pair(
            model, DataLoader(data, self.size, shuffle=self._chance(0.2), collate_fn=Collate(join=join)), None
        )

    # ------------------------------------------------------------------------------------------------------- map-style

    def _map_style(self, items: Items, form: Callable[[Tensor, int], Any]) -> tuple[Any, bool]:
        """Return the loader, and whether its input can be given by a shape."""
        data, collate = self._dataset(items, form)
        options: dict[str, Any] = {"collate_fn": collate or self._collate()}
        plain = form is not parts.named and getattr(options["collate_fn"], "form", "like") == "like"
        options.update(self._batches(data))
        kind: Any = DataLoader
        if self._chance(0.08):
            kind = self.rng.choice(parts.LOADER_CLASSES)
            self.words.append(kind.__name__)
        loader = kind(data, num_workers=int(self._chance(0.004)), **options)
        if kind is DataLoader and self._chance(0.05):
            loader = self._repaired(loader)
        if self._chance(0.04):
            wrapper = self.rng.choice((parts.Prefetcher, parts.FirstRows))
            self.words.append(wrapper.__name__)
            loader = wrapper(loader)
        return loader, plain

    def _repaired(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        repair = self._named({"merge_tail": bnguard.repair.merge_tail, "balance": bnguard.repair.balance})
        try:
            return repair(loader)
        except bnguard.BnguardError:
            return loader

    def _dataset(self, items: Items, form: Callable[[Tensor, int], Any]) -> tuple[Dataset[Any], Collate | None]:
        """Return a dataset, and the collate function that it needs."""
        missing = frozenset(i for i in range(len(items)) if self._chance(0.2))
        kind = self.rng.choices(
            ("tensors alone", "plain", "noisy", "missing", "often missing", "bulk", "bulk once", "bulk good"),
            (24, 36, 10, 11, 2, 6, 4, 5),
        )[0]
        self.words.append(kind)
        if kind == "tensors alone":
            return self._part_of(TensorDataset(torch.stack(items), torch.zeros(len(items)))), None
        if kind == "noisy":
            return self._part_of(parts.Noisy(items, form)), None
        if kind in ("missing", "bulk good"):
            some: parts.SomeMissing = (parts.SomeMissing if kind == "missing" else parts.BulkOfGood)(items, form)
            some.missing = missing
            return self._part_of(some), Collate(parts.without_missing) if kind == "missing" else None
        if kind == "often missing":
            return self._part_of(parts.OftenMissing(items, form)), Collate(parts.without_missing)
        if kind.startswith("bulk"):
            bulk = parts.Bulk(items, form)
            bulk.once = kind == "bulk once"
            return self._part_of(bulk), None
        return self._part_of(parts.Plain(items, form)), None

    def _part_of(self, data: Dataset[Any]) -> Dataset[Any]:
        n = self.n
        makers: dict[str, Callable[[], Any]] = {
            "subset": lambda: Subset(data, range(max(1, n // 2))),
            "concat": lambda: ConcatDataset([data, Subset(data, range(min(n, 2)))]),
            "split": lambda: random_split(data, [0.7, 0.3], torch.Generator().manual_seed(1))[0] if n > 1 else data,
        }
        return self._named(makers)() if self._chance(0.3) else data

    def _collate(self) -> Collate | None:
        makers: dict[str, Callable[[], Collate]] = {
            "stack": Collate,
            "named": lambda: Collate(form="named"),
            "holder": lambda: Collate(form="holder"),
            "two views": lambda: Collate(join=parts.two_views),
            "joined": lambda: Collate(join=parts.joined_in_pairs),
            "large values": lambda: Collate(parts.of_large_values),
            "even number": lambda: Collate(parts.even_number),
        }
        if self._chance(0.55):
            return None
        if self._chance(0.06):
            self.words.append("drops by chance")
            return Collate(parts.by_chance)
        return self._named(makers)()

    def _batches(self, data: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataset with a length
        n, size, rng = len(data), self.size, self.rng
        drop_last = self._chance(0.2)
        if self._chance(0.2):
            make = rng.choice(parts.BATCH_SAMPLERS) if self._chance(0.93) else parts.of_random_size
            self.words.append(make.__name__)
            return {"batch_sampler": make(n, size) if make is parts.plain_batches else parts.Batches(n, size, make)}
        self.words.append("drop_last" if drop_last else "")
        options: dict[str, Any] = {"batch_size": size, "drop_last": drop_last}
        makers: dict[str, Callable[[], Any]] = {
            "replacement": lambda: RandomSampler(data, replacement=True, num_samples=rng.randint(1, 30)),
            "fewer": lambda: RandomSampler(data, num_samples=max(1, n - 1)),
            "some": lambda: SubsetRandomSampler(range(0, n, 2)),
            "weighted": lambda: WeightedRandomSampler([1.0] * n, n + 1),
            "ranks": lambda: DistributedSampler(data, 2, rng.randint(0, 1), drop_last=self._chance(0.5)),
            **{k: lambda draw=draw: parts.Own(n, draw) for k, draw in parts.OWN_SAMPLERS.items()},
        }
        if self._chance(0.45):
            return {**options, "shuffle": self._chance(0.5)}
        if self._chance(0.03):
            self.words.append("of random length")
            return {**options, "sampler": parts.Own(n, parts.RANDOM_LENGTH)}
        return {**options, "sampler": self._named(makers)()}

    # --------------------------------------------------------------------------------------------------------- streams

    def _stream(self, items: Items, form: Callable[[Tensor, int], Any]) -> DataLoader[Any]:
        rng = self.rng
        if self._chance(0.04):
            self.words.append("used up")
            return DataLoader(parts.UsedUp(items, form), self.size)
        workers = rng.choice((2, 2, 3)) if self._chance(0.1) else 0
        share = self._named({"ceil": parts.ceil_share, "stride": parts.stride_share, "whole": parts.whole_share})
        keeps = self._named({"all": lambda _: True, "large values": lambda x: float(x.sum()) > -1.0})
        kind = self._named({"without length": parts.Stream, "with length": parts.SizedStream})
        self.words.append(f"{workers} workers")
        collate = self._collate()
        data = kind(items, form, share, keeps)
        if collate is None and self._chance(0.1):
            self.words.append("unbatched")
            data.form = lambda x, label: form(x.unsqueeze(0), label)
            return DataLoader(data, batch_size=None, num_workers=workers)
        loader = DataLoader(data, self.size, drop_last=self._chance(0.2), num_workers=workers, collate_fn=collate)
        return self._repaired(loader) if self._chance(0.1) else loader


def built(seed: int) -> Pair:
    """Return the pair of a seed; every call returns an equal one."""
    torch.manual_seed(seed)
    random.seed(seed)
    return Generator(seed).pair()
