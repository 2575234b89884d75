"""What a forward gets of batches that a loader really gave, and how that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnguard._audit_loader.reading import Kind
from bnguard._facts.models import InputFact
from bnguard._forecast.inputs import Change, Select, is_opaque, shown_inputs, ways_to_call
from bnguard._models.inputs import Arguments, describe, map_tensors
from bnguard._trace.models import TraceableModel, first_that_runs
from bnguard._trace.trace import Progress

_MOST_TRIED = 3
"""Kinds of batches on which ways to call the model are tried."""


@dataclass(frozen=True)
class BatchInputs:
    """What a forward gets of batches that a loader really gave, by the number of samples that each stands for.

    At other numbers it is the largest of them, cut or repeated.
    """

    batches: Mapping[int, Any]
    select: Select
    change: Change
    how: str = ""
    source: str = "sample"

    @property
    def needs_values(self) -> bool:
        """Whether the arguments hold objects, such as graphs, whose tensors cannot be reached."""
        args, kwargs = self._of(max(self.batches))
        return any(map(is_opaque, (*args, *kwargs.values())))

    def make(self, batch_size: int, device: str) -> Arguments:
        """Return shapes on ``meta``; on the CPU the values that came."""
        known = batch_size if batch_size in self.batches else max(self.batches)
        args, kwargs = self._of(known)

        if known != batch_size:
            args, kwargs = _sized(args, known, batch_size), _sized(kwargs, known, batch_size)

        def placed(t: Tensor) -> Tensor:
            return t.detach().to(device)

        made: Arguments = map_tensors(args, placed), map_tensors(kwargs, placed)
        return made

    def facts(self, batch_size: int) -> tuple[InputFact, ...]:
        """Describe every tensor within the arguments."""
        return describe(self.make(batch_size, "meta"), self.source)

    def shown(self) -> str:
        """Return the input without its batch dimension, as people write it."""
        args, kwargs = self._of(max(self.batches))
        return shown_inputs(self.facts(max(self.batches)), (*args, *kwargs.values())) + self.how

    def _of(self, size: int) -> Arguments:
        args, kwargs = self.select(self.batches[size])
        changed: Arguments = map_tensors(args, self.change), map_tensors(kwargs, self.change)
        return changed


def _sized(value: Any, known: int, wanted: int) -> Any:  # noqa: ANN401 - any nesting of tensors
    """Cut or repeat tensors, and lists that hold one item for each sample, as detectors take them."""
    if isinstance(value, Tensor):
        return _resized(value, known, wanted)
    if isinstance(value, dict):
        return {key: _sized(item, known, wanted) for key, item in value.items()}
    if type(value) in (list, tuple):
        stacked = any(isinstance(item, Tensor) and item.shape[:1] == (known,) for item in value)
        if value and len(value) == known and not stacked:
            return type(value)(value[i % known] for i in range(wanted))
        return type(value)(_sized(item, known, wanted) for item in value)
    return map_tensors(value, lambda t: _resized(t, known, wanted))


def _resized(t: Tensor, known: int, wanted: int) -> Tensor:
    """Cut or repeat the rows of a tensor that has as many of them, or so many times as many, as samples are known."""
    if not t.dim() or not known or not t.shape[0] or t.shape[0] % known:
        return t
    rows = t.shape[0] // known * wanted
    return torch.cat([t] * -(-rows // t.shape[0]))[:rows]


def narrowed(inputs: Sequence[BatchInputs]) -> BatchInputs | None:
    """Return inputs in which every dimension that differs between these has the size of one, rows first of all."""
    shapes = [[t.shape for t in _tensors(each)] for each in inputs]
    if any(each.needs_values for each in inputs):
        return None
    if len({tuple(map(len, of)) for of in shapes}) != 1:
        return None
    differ = [[len(set(sizes)) > 1 for sizes in zip(*of, strict=True)] for of in zip(*shapes, strict=True)]
    order = iter(differ)

    def cut(t: Tensor) -> Tensor:
        for dim, changes in enumerate(next(order)):
            t = t.narrow(dim, 0, min(1, t.shape[dim])) if changes or dim == 0 else t
        return t

    first = max(inputs, key=lambda each: max(each.batches))
    made = first.make(max(first.batches), "cpu")
    small: Arguments = map_tensors(made[0], cut), map_tensors(made[1], cut)
    return BatchInputs({1: small}, _as_made, _as_it_is)


def _tensors(inputs: BatchInputs) -> list[Tensor]:
    found: list[Tensor] = []
    args, kwargs = inputs.make(max(inputs.batches), "meta")
    map_tensors([*args, kwargs], lambda t: found.append(t) or t)  # type: ignore[func-returns-value]
    return found


def _as_made(made: Arguments) -> Arguments:
    return made


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def way_of_calling(
    model: TraceableModel, progress: Progress, batches: Mapping[Kind, Any]
) -> tuple[BatchInputs, bool] | str:
    """Return what a forward takes of batches that were read, tried on the largest ones; or why it takes nothing.

    And whether neither a normalisation layer nor a call of such a function was found in it.
    """
    refused = None
    for kind in sorted(batches, key=lambda each: -each.rows)[:_MOST_TRIED]:
        for ways in ways_to_call(model.tracer.model, batches[kind]):
            alike = [BatchInputs({kind.rows: batches[kind]}, *way) for way in ways]
            for rows in dict.fromkeys((kind.rows, 2)):
                found = first_that_runs(model.tracer, alike, rows, progress)
                if found is not None and found[1].error is None and isinstance(found[0], BatchInputs):
                    return found[0], not model.tracer.layers and not found[1].calls
                refused = refused or (found and found[1].error_line)
    return f"{type(model.tracer.model).__name__} takes no part of the batches ({refused})"
