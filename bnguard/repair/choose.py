"""Which layers a fix is for: all BatchNorm layers of a model, or those that ``only`` names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from bnguard.errors import TargetError, UsageError, did_you_mean
from bnguard.model.layers import Layer, find_layers
from bnguard.norm_kinds import BATCH

Only = str | Sequence[str] | Callable[[str], bool] | None
"""Dotted names of layers or of modules above them, patterns such as ``layer4.*``, or a function of the name."""


def batch_norm_layers(model: nn.Module, only: Only = None) -> list[Layer]:
    """Return the chosen BatchNorm layers in ``named_modules`` order, each instance once.

    A model without any gets a warning and an empty list.

    Args:
        model: stays as it is.
        only: a name stands for that module and all below it; None for the whole model.

    Raises:
        TargetError: this is no ``nn.Module``.
        UsageError: ``only`` matches no BatchNorm layer, though there are some.

    """
    if not isinstance(model, nn.Module):
        raise TargetError(f"a {type(model).__name__} is no model", hint="give an nn.Module")
    layers = [x for x in find_layers(model) if x.kind is BATCH]
    if not layers:
        text = f"{type(model).__name__} has no BatchNorm layer: nothing was changed"
        warnings.warn(text, stacklevel=4)
        return []
    return layers if only is None else _matching(layers, only)


def _matching(layers: list[Layer], only: Only) -> list[Layer]:
    if callable(only):
        chosen = [x for x in layers if any(map(only, x.names))]
        if not chosen:
            raise UsageError("only() chose no BatchNorm layer", hint=f"the first is called {layers[0].name!r}")
        return chosen
    patterns = [only] if isinstance(only, str) else list(only or ())
    if not patterns:
        raise UsageError("only names no layer", hint="leave it out to change all BatchNorm layers")
    for pattern in patterns:
        if not any(_fits(name, pattern) for x in layers for name in x.names):
            names = [name for x in layers for name in x.names]
            hint = did_you_mean(pattern, names) or f"the first is called {layers[0].name!r}"
            raise UsageError(f"only={pattern!r} matches no BatchNorm layer", hint=hint)
    return [x for x in layers if any(_fits(name, pattern) for name in x.names for pattern in patterns)]


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)
