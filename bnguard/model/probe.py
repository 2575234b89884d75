"""What a hand-written normaliser really does: a copy of the one layer is run on small random tensors.

Its class says nothing: a from-scratch BatchNorm, a frozen look-alike and an exponential average all keep running
statistics. Two questions tell them apart: does a sample's output depend on the other samples, and does the layer
refuse or flatten one value per channel?
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnguard.model import private


@dataclass(frozen=True)
class Behaviour:
    """Measured on a small copy of the layer.

    Attributes:
        batch_statistics: whether one sample's output depends on the others.
        raises: whether it raises at the shape that the forward gave it.
        error: the message, or None.

    """

    batch_statistics: bool
    raises: bool
    error: str | None = None


def behaviour(layer: nn.Module, shape: tuple[int, ...]) -> Behaviour | None:
    """Run a copy of the layer in its present mode; None where it cannot be run on its own.

    Args:
        layer: stays as it is; its parameters may be on the meta device (ones take their place).
        shape: of the input that the model's forward gave it, batch first.

    """
    if len(shape) < 2:
        return None
    small = (shape[0], shape[1], *(min(s, 4) for s in shape[2:]))
    try:
        with torch.no_grad():
            pair = torch.randn((2, *small[1:]))
            other = pair.clone()
            other[1] += 3.0
            first, second = (_real_copy(layer)(x) for x in (pair, other))
            depends = not torch.allclose(first[0], second[0], equal_nan=True)
    except Exception:  # noqa: BLE001 - a user's layer may raise anything when run outside its model
        return None
    try:
        with torch.no_grad():
            _real_copy(layer)(torch.randn(small))
    except Exception as error:  # noqa: BLE001 - the very thing to find out
        return Behaviour(depends, True, f"{type(error).__name__}: {error}".splitlines()[0])
    return Behaviour(depends, False)


def _real_copy(layer: nn.Module) -> nn.Module:
    memo: dict[int, object] = {}
    for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
        memo[id(tensor)] = _values(name, tensor)
    for module in layer.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                memo[id(value)] = _values(name, value)
    return copy.deepcopy(layer, memo)


def _values(name: str, tensor: Tensor) -> Tensor:
    if private.has_values(tensor):
        return (
            tensor.detach().clone().cpu()
            if not isinstance(tensor, nn.Parameter)
            else nn.Parameter(tensor.detach().clone().cpu(), tensor.requires_grad)
        )
    fresh = torch.ones if "var" in name or "std" in name or "weight" in name or "gamma" in name else torch.zeros
    value = fresh(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value
