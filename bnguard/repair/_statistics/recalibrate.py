"""Running statistics taken anew from data, each layer given what it will really see in eval mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bnguard import _private_torch as private
from bnguard._errors import RepairError
from bnguard._facts.models import THIN_VALUES
from bnguard._models.layers import Layer, running_statistics
from bnguard._models.wrappers import unwrap
from bnguard._ranks import from_all_ranks
from bnguard._usercode import one_line
from bnguard.repair._apply import Only, Repair, batch_norm_layers, label, why_fixed
from bnguard.repair._retype import is_frozen
from bnguard.repair._statistics.moments import Moments, together
from bnguard.repair._statistics.passes import Batches, Forward, Passes, measuring

_MOST_SWEEPS = 5
_NEAR = 1e-3
"""What is left of a deviation is nothing: in standard deviations, and as a share of one."""

T = TypeVar("T")


@dataclass(frozen=True)
class Moved:
    """How far the running statistics of a layer went.

    Attributes:
        mean: the largest move of a channel's mean, in new standard deviations.
        std: the smallest and the largest ratio of new to old standard deviation among the channels.
        values: values per channel that the new statistics rest on.

    """

    mean: float
    std: tuple[float, float]
    values: int

    def __str__(self) -> str:
        low, high = self.std
        return f"mean moved by {self.mean:.2g} std or less, std × {low:.2g} to {high:.2g}"


@dataclass(frozen=True)
class Recalibration(Repair):
    """What was done to a model's running statistics.

    Attributes:
        moved: how far those of each layer went, by dotted name, in the order of their first calls.
        batches: how many were taken, of all ranks together.
        verified: True where in eval mode each layer is then given inputs of just these statistics; None where some
            are not, or nobody asked: the notes say which.

    """

    moved: Mapping[str, Moved] = field(default_factory=dict)
    batches: int = 0

    def __str__(self) -> str:
        known = "each has what it is given in eval mode" if self.verified else "not verified"
        layers = f"{len(self.changed)} layer{'s' * (len(self.changed) != 1)}"
        head = f"{self.name}: {layers} from {self.batches} batch{'es' * (self.batches != 1)}; {known}"
        return "\n".join([head, *(f"  {label(name)}: {moved}" for name, moved in self.moved.items()), *self._remarks()])


def recalibrate(
    model: nn.Module,
    loader: Iterable[Any],
    batches: int | None = None,
    *,
    forward: Forward | None = None,
    only: Only = None,
    all_ranks: bool = True,
    verify: bool = True,
) -> Recalibration:
    """Take the running statistics of BatchNorm layers anew from data.

    Each layer gets mean and unbiased variance of all values that it is given, over all batches together: the sizes of
    the batches do not matter, and one sample at a time does as well as a hundred. That is not the average over batches
    that ``torch.optim.swa_utils.update_bn`` takes, in which a tail counts as much as a full batch and the spread
    between batches is missing.

    The layers are done one after the other, in the order in which a forward calls them, with the model in eval mode.
    So each is measured on what the ones before will give once it is used, not on what they give in train mode, where
    they would normalise each batch by itself, differently for every size; dropout is off. The price is one pass over
    the data for each layer, left once the layer is reached, and one for the verification (for ResNet-18 with its 20
    layers about 19 forwards of each batch): a few dozen batches do, and the whole loader is seldom worth it.

    Weights, modes, hooks, gradients, other buffers, random states and the loader's generators are as they were. Hooks
    of the user's run in these forwards. ``num_batches_tracked`` becomes the number of batches.

    Args:
        model: is changed in place. Within DistributedDataParallel, DataParallel or ``torch.compile`` too.
        loader: gives batches of training data: a DataLoader or any other iterable.
        batches: how many to take, which are then held in memory; None to take all, reading the loader anew for each
            pass, with the same random numbers.
        forward: calls the model with a batch as it came, such as ``lambda model, batch: model(batch["image"])``. None:
            of a tuple the first parts are given, of a dict the keys that the forward names. It gets the model without
            wrappers, and tensors on its device.
        only: layers, or modules above them, by dotted name or pattern; None for all that are not frozen. A layer in
            eval mode within a model in train mode counts as frozen, unless it is named here.
        all_ranks: with several ranks take the statistics over the data of all: each of them must make this call.
        verify: measure all layers once more, together; where a layer that is called several times in a forward has
            changed its own input, do it again.

    Returns:
        What was changed: ``moved`` tells how far by layer, ``undo()`` puts the old statistics back.

    Raises:
        RepairError: no layer keeps running statistics or none is called, the loader gives no batch, a batch holds NaN,
            or the model takes no part of it. Nothing is changed then, nor after an error of the model's or loader's
            own, which is passed on.

    """
    return _recalibrated(model, loader, batches, forward, only, all_ranks, verify)


def _recalibrated(
    model: nn.Module,
    loader: Iterable[Any],
    most: int | None,
    forward: Forward | None,
    only: Only,
    all_ranks: bool,
    verify: bool,
) -> Recalibration:
    layers = batch_norm_layers(model, only)
    if not layers:
        return Recalibration("recalibrate", model, notes=("no BatchNorm layer",))
    skipped = {x: why for x in layers if (why := _why_left(x, model, named=only is not None)) is not None}
    chosen = [x for x in layers if x not in skipped]
    if not chosen:
        raise RepairError(f"recalibrate changed nothing: {label(layers[0].name)} {skipped[layers[0]]}")
    lazy = next((n for n, p in model.named_parameters() if private.is_lazy(p)), None)
    if lazy is not None:
        raise RepairError(f"{lazy} has no shape yet", hint="run one forward first")
    with ExitStack() as undo:
        statistics = {id(t) for x in chosen for t in _kept(x)}
        undo.callback(_set, [p for p in _buffers(model) if id(p[2]) in statistics])
        before = {x: [t.clone() for t in _kept(x)] for x in chosen}
        with ExitStack() as others:
            others.callback(_put_back, [p for p in _buffers(model) if id(p[2]) not in statistics])
            others.enter_context(measuring(model))
            work = _Work(lambda: Passes(unwrap(model), Batches(loader, most), forward), chosen, all_ranks)
            notes = work.run(verify)
        done = [x for x in chosen if x in work.found]
        skipped |= {x: "is not called in a forward of the first batch" for x in chosen if x not in work.found}
        return Recalibration(
            "recalibrate", model,
            changed=tuple(x.name for x in done),
            skipped={x.name: skipped[x] for x in layers if x in skipped},
            notes=notes,
            verified=True if verify and work.settled else None,
            moved={x.name: _moved(before[x], x, found) for x, found in work.found.items()},
            batches=work.batches,
            _undo=undo.pop_all(),
        )  # fmt: skip


def _why_left(layer: Layer, model: nn.Module, named: bool) -> str | None:
    """Return why the statistics of this layer stay as they are, or None."""
    why = why_fixed(layer)
    if why is not None:
        return why
    pair = running_statistics(layer.module)
    if pair is None:
        return "keeps no running statistics (track_running_stats=False)"
    if not all(map(private.has_values, pair)):
        return "has no values yet: its tensors are on the meta device"
    if is_frozen(layer.module):
        return "is frozen: undo() of freeze lets it learn"
    if not named and model.training and not layer.module.training:
        return f"is in eval mode in a model that trains, so it counts as frozen; only={layer.name!r} takes it"
    return None


def _kept(layer: Layer) -> list[Tensor]:
    """Return running mean, running variance and, if there is one, the count of batches."""
    pair = running_statistics(layer.module)
    count = private.own_tensor(layer.module, "num_batches_tracked")
    return [*(pair or ()), *([] if count is None else [count])]


_Buffer = tuple[nn.Module, str, Tensor, Tensor]
"""Whose it is, its name, the very tensor, and a copy of its values."""


def _buffers(model: nn.Module) -> list[_Buffer]:
    found = [(m, name, t) for m in model.modules() for name, t in m.named_buffers(recurse=False)]
    return [(m, n, t, t.clone()) for m, n, t in found if not private.is_lazy(t) and private.has_values(t)]


def _put_back(buffers: list[_Buffer]) -> None:
    for module, name, tensor, _ in buffers:
        private.replace_tensor(module, name, tensor)
    _set(buffers)


def _set(buffers: list[_Buffer]) -> None:
    """Give each buffer its values, wherever it is by now: the model may have been moved to another device."""
    with torch.no_grad():
        for module, name, tensor, values in buffers:
            now = private.own_tensor(module, name)
            (tensor if now is None else now).copy_(values)


def _moved(before: list[Tensor], layer: Layer, found: Moments) -> Moved:
    mean, var = (t.double().cpu() for t in before[:2])
    std = (found.variance + layer.eps).sqrt()
    ratio = std / (var + layer.eps).sqrt()
    return Moved(float(((found.mean - mean).abs() / std).max()), (float(ratio.min()), float(ratio.max())), found.count)


# ------------------------------------------------------------------------------------------- layer after layer


class _Work:
    """Measures the layers one after the other, over all ranks, and writes down what they were given.

    Attributes:
        found: what each layer has got, in the order of their first calls.
        settled: whether in eval mode each layer is given inputs of just its statistics.

    """

    _passes: Passes

    def __init__(self, begin: Callable[[], Passes], layers: list[Layer], all_ranks: bool) -> None:
        self._begin, self._all_ranks = begin, all_ranks
        self._layers = {x.name: x for x in layers}
        self._calls: dict[str, int] = {}
        self.found: dict[Layer, Moments] = {}
        self.settled = False
        self.batches = 0

    def run(self, verify: bool) -> tuple[str, ...]:
        """Change the statistics; return what the reader should know."""
        for calls in self._everyone(self._begun):
            for name, count in calls.items():
                self._calls[name] = max(self._calls.get(name, 0), count)
        if not self._calls:
            raise RepairError(
                f"a forward of the first batch calls no BatchNorm layer that can be measured, such as "
                f"{label(next(iter(self._layers)))}; nothing was changed",
                hint="say how the model is called: forward=lambda model, batch: model(batch[0])",
            )
        todo, off = list(self._calls), ""
        for _ in range(_MOST_SWEEPS if verify else 1):
            for name in todo:
                self._measure(name)
            if not verify:
                return ("not verified, as verify=False asks", *self._thin())
            todo, off = self._off()
            if not todo:
                self.settled = True
                return self._thin()
        return (f"{off}: it is called {self._calls[todo[0]]}× in a forward, or the data differ from pass to pass",
                *self._thin())  # fmt: skip

    def _begun(self) -> dict[str, int]:
        self._passes = self._begin()  # reads the loader: an error of one rank's must reach the others
        return self._named(self._passes.calls(list(self._layers.values())))

    def _measure(self, name: str) -> None:
        layer = self._layers[name]
        found = self._moments({name: self._calls[name]}).get(name)
        if found is None or found.count < 2:
            raise RepairError(
                f"{label(name)} ({layer.type}) is given {found.count if found else 'no'} value per channel in all "
                "batches together, which has no variance; nothing was changed",
                hint="give two samples or more",
            )
        kept = _kept(layer)
        for tensor, value in zip(kept, (found.mean, found.variance, self.batches), strict=False):
            tensor.copy_(torch.as_tensor(value))
        if not all(bool(torch.isfinite(t).all()) for t in kept):
            raise RepairError(f"the statistics of {label(name)} are too large for {kept[0].dtype}; nothing was changed")
        self.found.pop(layer, None)
        self.found[layer] = found

    def _off(self) -> tuple[list[str], str]:
        """Return the layers from the first one on whose input has other statistics than it keeps, and which it is."""
        seen = self._moments(self._calls)
        for at, name in enumerate(self._calls):
            layer, found = self._layers[name], seen[name]
            apart = _apart(layer, found)
            if apart > max(_NEAR, 4 * torch.finfo(_kept(layer)[0].dtype).eps):
                return list(self._calls)[at:], f"{label(name)} is given inputs {apart:.2g} standard deviations off"
        return [], ""

    def _thin(self) -> tuple[str, ...]:
        thin = min(self.found, key=lambda x: self.found[x].count)
        count = self.found[thin].count
        return (f"{label(thin.name)}: {count} values per channel are few",) if count < THIN_VALUES else ()

    # ------------------------------------------------------------------------------------- over all ranks

    def _moments(self, names: Mapping[str, int]) -> dict[str, Moments]:
        """Return the moments of each layer over the batches of all ranks."""

        def measure() -> tuple[int, dict[str, Moments]]:
            seen = self._passes.moments({self._layers[name]: count for name, count in names.items()})
            return self._passes.count, self._named(seen)

        parts = self._everyone(measure)
        self.batches = sum(count for count, _ in parts)
        known = {name: together(seen.get(name) for _, seen in parts) for name in names}
        return {name: found for name, found in known.items() if found is not None}

    def _everyone(self, make: Callable[[], T]) -> list[T]:
        """Return what every rank has made; if one could not, none goes on."""
        if not self._all_ranks:
            return [make()]
        try:
            mine, failed = make(), None
        except Exception as error:  # noqa: BLE001 - is raised below, once the other ranks know
            mine, failed = None, error
        told = from_all_ranks((failed and one_line(failed), mine))
        if failed is not None:
            raise failed
        for rank, (why, _) in enumerate(told):
            if why is not None:
                raise RepairError(f"rank {rank} could not go on, and nothing was changed: {why}")
        return [made for _, made in told]

    @staticmethod
    def _named(of: Mapping[Layer, T]) -> dict[str, T]:
        return {layer.name: value for layer, value in of.items()}


def _apart(layer: Layer, found: Moments) -> float:
    """Return how far a layer's statistics are from what it was given, in standard deviations."""
    mean, var = (t.double().cpu() for t in _kept(layer)[:2])
    std = (found.variance + layer.eps).sqrt()
    near = (mean - found.mean.to(_kept(layer)[0].dtype)).abs() / std
    return float(torch.maximum(near, ((var + layer.eps).sqrt() / std - 1).abs()).max())
