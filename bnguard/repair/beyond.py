"""What a BatchNorm layer does besides normalising: nothing, or the modules it holds, such as a fused activation.

Whoever puts another layer in its place must go on doing that. Names say nothing of it, so a copy of the layer is run.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from bnguard.model import private
from bnguard.model.layers import Layer
from bnguard.repair import retype
from bnguard.repair.apply import why_fixed
from bnguard.untouched import untouched_process

_SPACE = {"BatchNorm1d": 0, "BatchNorm2d": 2, "BatchNorm3d": 3}
"""Dimensions of space in the tensor that a layer is tried with, by the class it inherits from."""


def why_irreplaceable(layer: Layer) -> tuple[str | None, list[tuple[str, nn.Module]]]:
    """Return why no other layer can stand here, or None and the modules that the other must apply afterwards."""
    module = layer.module
    why, children = why_fixed(layer), None
    if why is None and private.is_parametrised(module):
        why = "computes its weight from other parameters"
    if why is None:
        children = after_normalising(module)
        if children is None:
            why = f"({type(module).__name__}) does more than normalise and apply its children: replace it by hand"
    return why, children or []


def after_normalising(module: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """Return the named modules that the layer applies to the normalised values, in order; None for anything else.

    Torch's own layers have none. Of a subclass with a forward of its own it is tried, on a copy and on random values of
    the size that the layer takes, whether it does what its children one after the other do.
    """
    base = retype.base_class(type(module))
    if base.forward in (private.batch_norm_base().forward, nn.SyncBatchNorm.forward):
        return []
    children = list(module.named_children())
    try:
        with untouched_process(), torch.no_grad():
            return children if _children_are_all(module) else None
    except Exception:  # noqa: BLE001 - a forward of the user's may raise anything on a tensor of our making
        return None


def _children_are_all(module: nn.Module) -> bool:
    layer: Any = copy.deepcopy(module).cpu().double().eval()
    space = next((n for kind in type(layer).__mro__ if (n := _SPACE.get(kind.__name__)) is not None), 2)
    x = torch.randn(4, layer.num_features, *(3 for _ in range(space)), dtype=torch.float64)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2.0)
    want: Tensor = batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, layer.eps)
    for child in layer.children():
        want = child(want)
    return torch.allclose(layer(x), want)
