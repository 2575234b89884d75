"""What really happens: a training or evaluation loop that notes at which step and in which layer it raised."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from bnguard._models.layers import find_layers
from bnguard._private_torch import is_lazy
from bnguard._trace.copies import copy_for_trace


class Real(NamedTuple):
    """Step (from 1), layer and exception of the first failure; all None where the epoch came to its end."""

    step: int | None = None
    layer: str | None = None
    error: str | None = None
    piece: int | None = None


Pieces = Callable[[Any], Iterable[Any]]


def first_of(batch: Any) -> Any:
    return batch[0] if isinstance(batch, (list, tuple)) else batch


def whole(x: Any) -> Iterable[Any]:
    yield x


def epoch(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    mode: str | None = "train",
    take: Callable[[Any], Any] = first_of,
    pieces: Pieces = whole,
) -> Real:
    """Run one epoch of a copy of the model.

    Args:
        take: from a batch to the argument, the tuple of arguments or the dict of keywords of the forward.
        pieces: cuts the argument as replicas or micro-batches do; each piece goes through the model by itself.

    """
    model = copy_for_trace(model, "shared") if any(map(is_lazy, model.buffers())) else copy.deepcopy(model)
    layers = {id(x.module): x.name for x in find_layers(model)}
    if mode is not None:
        model.train(mode == "train")
    weights = [p for p in model.parameters() if p.requires_grad and not is_lazy(p)]
    optimizer = torch.optim.SGD(weights, 1e-3) if weights else None
    for step, batch in enumerate(loader, 1):
        for index, piece in enumerate(pieces(take(batch))):
            try:
                if mode == "eval":
                    with torch.no_grad():
                        call(model, piece)
                else:
                    call(model, piece).float().sum().backward()
            except Exception as error:
                return Real(step, layer_of(error, layers), type(error).__name__, index)
        if optimizer is not None and mode != "eval":
            optimizer.step()
    return Real()


def call(model: nn.Module, piece: Any) -> torch.Tensor:
    if isinstance(piece, dict):
        return model(**piece)
    return model(*piece) if isinstance(piece, tuple) else model(piece)


def layer_of(error: BaseException, layers: dict[int, str]) -> str | None:
    found, step = None, error.__traceback__
    while step is not None:
        owner = step.tb_frame.f_locals.get("self")
        found = layers.get(id(owner), found)
        step = step.tb_next
    return found
