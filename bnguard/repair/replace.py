"""Putting other layers in the place of BatchNorm layers, under every name that they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from bnguard.errors import RepairError
from bnguard.model.layers import Layer
from bnguard.repair.apply import apply
from bnguard.repair.choose import Only
from bnguard.repair.outcome import Repair, Steps


def replace_layers(
    name: str,
    model: nn.Module,
    make: Callable[[Layer], nn.Module | str],
    *,
    only: Only,
    inputs: Any,  # noqa: ANN401 - see bnguard.scan
    verify: bool,
) -> Repair:
    """Replace the chosen BatchNorm layers by what ``make`` gives, once for each instance.

    Args:
        name: of the fix.
        model: is changed in place.
        make: returns the new layer, or why there is none.
        only: see :func:`bnguard.repair.choose.batch_norm_layers`.
        inputs: see :func:`bnguard.scan`.
        verify: scan again.

    Raises:
        RepairError: as :func:`bnguard.repair.apply.apply`; or the model is itself the layer.

    """
    replaced: dict[str, nn.Module] = {}

    def change(layer: Layer, steps: Steps) -> str | None:
        new = make(layer)
        if isinstance(new, str):
            return new
        put(model, layer, new, steps)
        replaced.update(dict.fromkeys(layer.names, layer.module))
        return None

    done = apply(name, model, change, only=only, inputs=inputs, verify=verify)
    return replace(done, replaced=replaced)


def put(model: nn.Module, layer: Layer, new: nn.Module, steps: Steps) -> None:
    """Put ``new`` where the layer stands, under all its names."""
    for path in layer.names:
        above, _, leaf = path.rpartition(".")
        if not leaf:
            raise RepairError(
                f"the model is itself a {layer.type}, and nothing holds it", hint="give the model that it is part of"
            )
        parent = model.get_submodule(above)
        steps.done(partial(setattr, parent, leaf, layer.module))
        setattr(parent, leaf, new)
