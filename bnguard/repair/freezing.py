"""BatchNorm whose running statistics stand still, whatever mode the model is put into."""

from __future__ import annotations

from typing import Any

from torch import nn

from bnguard.errors import RepairError
from bnguard.model.layers import Layer
from bnguard.repair import retype
from bnguard.repair.apply import ALREADY, apply
from bnguard.repair.choose import Only
from bnguard.repair.outcome import Repair, Steps
from bnguard.repair.single_sample import why_not_running


def freeze(
    model: nn.Module,
    affine: bool = True,
    only: Only = None,
    *,
    inputs: Any = None,  # noqa: ANN401 - see bnguard.scan
    verify: bool = True,
) -> Repair:
    """Let BatchNorm layers use their running statistics in training too, and leave them as they are.

    ``model.eval()`` on a layer is undone by the next ``model.train()``; this is not. The state dict is unchanged.

    Args:
        model: is changed in place.
        affine: freeze weight and bias as well; they then require no gradient.
        only: layers, or modules above them, by dotted name or pattern such as ``backbone``; None for all.
        inputs: what the model takes, as for :func:`bnguard.scan`, for the verification.
        verify: scan the model again at batch size 1, and raise if a chosen layer still fails.

    Returns:
        What was changed; ``undo()`` lets the layers learn again.

    Raises:
        RepairError: no layer keeps running statistics, one still fails, or the model is wrapped in
            DistributedDataParallel, which waits for the gradients that ``affine`` takes away. Nothing is changed then.

    """
    if affine and any(isinstance(m, nn.parallel.DistributedDataParallel) for m in model.modules()):
        raise RepairError(
            "DistributedDataParallel waits for the gradient of every parameter that it was built with",
            hint="freeze the model before it is wrapped, or use freeze(model, affine=False)",
        )
    return apply(
        "freeze",
        model,
        lambda layer, steps: _change(model, layer, affine, steps),
        only=only,
        inputs=inputs,
        verify=verify,
    )


def _change(model: nn.Module, layer: Layer, affine: bool, steps: Steps) -> str | None:
    module = layer.module
    why = why_not_running(layer)
    if why is None and retype.has(module, Frozen):
        why = ALREADY
    if why is not None:
        return why
    follows, mode = module.training == model.training, module.training
    steps.done(lambda: _thaw(module, model.training if follows else mode))
    retype.add(module, Frozen)
    module.training = False
    for parameter in module.parameters(recurse=False) if affine else ():
        steps.done(lambda p=parameter, needed=parameter.requires_grad: p.requires_grad_(needed))  # type: ignore[misc]
        parameter.requires_grad_(False)
    return None


def _thaw(module: nn.Module, mode: bool) -> None:
    retype.remove(module, Frozen)
    module.training = mode


class Frozen(retype.Added):
    """Added to a BatchNorm class: the layer itself stays in eval mode."""

    label = "frozen"

    def train(self, mode: bool = True) -> Any:  # noqa: ANN401 - the module itself
        """Set the mode of what the layer holds, such as a fused dropout; its own stays."""
        super().train(mode)  # type: ignore[misc]
        self.training = False
        return self
