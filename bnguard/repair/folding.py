"""The arithmetic of a BatchNorm that is part of the layer before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnguard.model.layers import Layer
from bnguard.repair.beyond import why_irreplaceable
from bnguard.repair.outcome import Steps
from bnguard.repair.replace import put


def fold(model: nn.Module, layer: Layer, feeder: Any) -> None:  # noqa: ANN401 - a Conv or Linear
    """Scale the feeder's weight, shift its bias, and leave in the layer's place what it held besides."""
    norm: Any = layer.module
    weight, bias = folded(feeder, norm)
    feeder.weight = nn.Parameter(weight, feeder.weight.requires_grad)
    feeder.bias = nn.Parameter(bias, feeder.weight.requires_grad)
    _, children = why_irreplaceable(layer)
    rest = nn.Sequential()
    for name, child in children:
        rest.add_module(name, child)
    put(model, layer, rest.eval() if children else nn.Identity(), Steps())


def folded(feeder: Any, norm: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - a Conv or Linear, a BatchNorm
    """Return weight and bias of the feeder with the norm folded in.

    ``weight * scale`` and ``(bias - mean) * scale + shift`` with ``scale = gamma / sqrt(var + eps)``, in double
    precision, so that rounding happens once. ``torch.nn.utils.fusion`` computes in the dtype of the weights, and not
    for grouped transposed convolutions, whose output channels are spread over the groups.
    """
    weight = feeder.weight.detach().double()
    sigma = torch.sqrt(norm.running_var.double() + norm.eps)
    scale = (torch.ones_like(sigma) if norm.weight is None else norm.weight.detach().double()) / sigma
    shift = torch.zeros_like(sigma) if norm.bias is None else norm.bias.detach().double()
    bias = torch.zeros_like(sigma) if feeder.bias is None else feeder.bias.detach().double()
    if getattr(feeder, "transposed", False):  # (in, out / groups, …), the groups one after the other along `in`
        grouped = weight.unflatten(0, (feeder.groups, -1))
        by_group = scale.view(feeder.groups, 1, -1, *(1 for _ in weight.shape[2:]))
        scaled = (grouped * by_group).flatten(0, 1)
    else:
        scaled = weight * scale.view(-1, *(1 for _ in weight.shape[1:]))
    dtype = feeder.weight.dtype
    return scaled.to(dtype), ((bias - norm.running_mean.double()) * scale + shift).to(dtype)
