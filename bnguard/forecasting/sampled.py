"""The inputs of a model as its loader gives them: one sample, collated, and the parts of it that the forward takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bnguard.facts import InputFact
from bnguard.forecasting.selections import Select, Wanted, selections
from bnguard.loader.sample import Sample
from bnguard.loader_facts import TIMES
from bnguard.model.inputs import Arguments, describe, map_tensors

Change = Callable[[Tensor], Tensor]


class _OtherStructureError(Exception):
    """Batches of one and of two samples differ in more than the sizes of their tensors."""


@dataclass(frozen=True)
class SampledInputs:
    """What a forward gets of a batch that holds one sample of a loader as often as is asked.

    Shapes of any batch size follow from the batches of one and of two samples: whichever dimension grows between
    them is the batch's, and it may grow by more than one a sample.
    """

    sample: Sample
    select: Select
    change: Change
    how: str = ""
    source: str = "sample"
    _ends: list[Arguments] = field(default_factory=list, repr=False)

    @property
    def needs_values(self) -> bool:
        """Whether the arguments hold objects, such as graphs, whose tensors cannot be reached."""
        return any(map(_is_opaque, self._values()))

    def make(self, batch_size: int, device: str) -> Arguments:
        """Return shapes on ``meta``; on the CPU what the collate function makes of the repeated sample."""
        if device == "meta":
            try:
                grown: Arguments = _grown(self._end(1), self._end(2), batch_size)
            except _OtherStructureError:
                return _moved(self._collated(batch_size), device)
            return grown
        return _moved(self._collated(batch_size), device)

    def facts(self, batch_size: int) -> tuple[InputFact, ...]:
        """Describe every tensor within the arguments."""
        return describe(self.make(batch_size, "meta"), self.source)

    def shown(self) -> str:
        """Return the input without its batch dimension, as people write it."""
        shapes = [words(fact) for fact in self.facts(1)]
        opaque = [f"a {type(v).__name__}" for v in self._values() if _is_opaque(v)]
        return ", ".join(shapes or opaque or ["no tensor"]) + self.how

    def _values(self) -> tuple[Any, ...]:
        args, kwargs = self._end(1)
        return (*args, *kwargs.values())

    def _collated(self, batch_size: int) -> Arguments:
        args, kwargs = self.select(self.sample.batch(batch_size))
        changed: Arguments = map_tensors(args, self.change), map_tensors(kwargs, self.change)
        return changed

    def _end(self, batch_size: int) -> Arguments:
        while len(self._ends) < batch_size:
            self._ends.append(self._collated(len(self._ends) + 1))
        return self._ends[batch_size - 1]


def ways_to_call(model: nn.Module, sample: Sample) -> Iterator[list[SampledInputs]]:
    """Yield lists of inputs to try, the plainest list first: as they are, as the model's dtype, flattened.

    The latter two stand for what training loops do to a batch: ``x.float()``, ``x.view(len(x), -1)``.
    """
    batch = sample.batch(1)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    word = str(dtype).removeprefix("torch.")
    ways = tuple(selections(batch, Wanted.by(model.forward)))
    for change, how in (
        (_as_it_is, ""),
        (partial(_cast, dtype=dtype), f", taken as {word}"),
        (partial(_flat, dtype=dtype), ", flattened"),
    ):
        yield [SampledInputs(sample, way, change, how) for way in ways]


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() or tensor.dtype is torch.uint8 else tensor


def _flat(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    cast = _cast(tensor, dtype)
    return cast.flatten(1) if cast.dim() > 2 else cast


def _grown(one: Any, two: Any, size: int) -> Any:  # noqa: ANN401 - any nesting of tensors
    """Return meta tensors of the shapes at ``size`` samples, from those at one and at two."""
    if isinstance(one, Tensor) and isinstance(two, Tensor) and one.dim() == two.dim():
        shape = [a + (b - a) * (size - 1) for a, b in zip(one.shape, two.shape, strict=True)]
        return torch.empty(shape, dtype=one.dtype, device="meta")
    if type(one) is not type(two) or _is_opaque(one):
        raise _OtherStructureError
    if isinstance(one, Mapping) and one.keys() == two.keys():
        return {k: _grown(v, two[k], size) for k, v in one.items()}
    if isinstance(one, (tuple, list)) and len(one) == len(two):
        parts = [_grown(a, b, size) for a, b in zip(one, two, strict=True)]
        return type(one)(*parts) if hasattr(one, "_fields") else type(one)(parts)
    if isinstance(one, (Tensor, Mapping, tuple, list)) or one != two:
        raise _OtherStructureError
    return one


def _is_opaque(value: object) -> bool:
    """Whether this is an object of a class of its own, such as a batch of graphs."""
    plain = (Tensor, Mapping, tuple, list, str, bytes, int, float, complex, type(None))
    return not isinstance(value, plain)


def _moved(arguments: Arguments, device: str) -> Arguments:
    args, kwargs = arguments
    moved: Arguments = (map_tensors(args, lambda t: t.to(device)), map_tensors(kwargs, lambda t: t.to(device)))
    return moved


def words(fact: InputFact) -> str:
    """Return a tensor's name, shape without the batch dimension, and dtype, as people write them."""
    name = f"{fact.name}=" if fact.name else ""
    shape = TIMES.join(map(str, fact.shape[1:])) or "one value"
    return f"{name}{shape}" + ("" if fact.dtype == "float32" else f" {fact.dtype}")
