"""What a BatchNorm layer does besides normalising: nothing, or the modules it holds, such as a fused activation.

Whoever puts another layer in its place must go on doing that. Names say nothing of it, so a copy of the layer is run.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from bnguard import _private_torch as private
from bnguard._errors import RepairError, UsageError
from bnguard._facts.models import THIN_VALUES
from bnguard._models.layers import Layer
from bnguard._ranks import rank_and_world_size
from bnguard._untouched import untouched_process
from bnguard.repair import _retype as retype
from bnguard.repair._apply import ALREADY, Only, Repair, label, replace_layers, traced, why_fixed

_SPACE = {"BatchNorm1d": 0, "BatchNorm2d": 2, "BatchNorm3d": 3}
"""Dimensions of space in the tensor that a layer is tried with, by the class it inherits from."""


def why_irreplaceable(layer: Layer) -> tuple[str | None, list[tuple[str, nn.Module]]]:
    """Return why no other layer can stand here, or None and the modules that the other must apply afterwards."""
    module = layer.module
    why, children = why_fixed(layer), None
    if why is None and private.is_parametrised(module):
        why = "computes its weight from other parameters"
    if why is None:
        children = _after_normalising(module)
        if children is None:
            why = f"({type(module).__name__}) does more than normalise and apply its children: replace it by hand"
    return why, children or []


def _after_normalising(module: nn.Module) -> list[tuple[str, nn.Module]] | None:
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


# ------------------------------------------------------------------------------------------ GroupNorm in their place


_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def to_group_norm(
    model: nn.Module,
    groups: int = 32,
    *,
    only: Only = None,
    inputs: Any = None,  # noqa: ANN401 - see bnguard.scan
    verify: bool = True,
) -> Repair:
    """Put GroupNorm in the place of BatchNorm layers; weight and bias are carried over, retraining is needed.

    The number of groups is the largest divisor of the channels up to ``groups`` that leaves each group two channels and
    16 values at the smallest map that the layer sees, as a trace of one sample shows; where no number does, it is 1.
    Smaller groups would not do: one value fails just as BatchNorm does, two become -1 and 1 whatever they were, and
    one channel gives a constant behind global average pooling. A layer that the trace does not reach counts as one
    pixel.

    Weight and bias are the very same parameters, so that an optimiser built before goes on with them. Device, dtype,
    mode, hooks, layers that are used in several places and fused activations stay. State dicts with running statistics
    still load; the other way round needs ``strict=False``, since GroupNorm has none to save.

    Args:
        model: is changed in place, unless it is itself a BatchNorm layer.
        groups: at most so many.
        only: layers, or modules above them, by dotted name or pattern; None for all.
        inputs: what the model takes, as for :func:`bnguard.scan`.
        verify: scan the model again at batch size 1, and raise if a chosen layer still fails.

    Returns:
        What was changed: ``replaced`` holds the old layers by name, ``model`` the new model, ``undo()`` puts them back.

    Raises:
        UsageError: ``groups`` is no positive number.
        RepairError: a layer has one channel on one pixel, which no grouping helps; or no layer can be replaced, or
            one still fails. Nothing is changed then.

    """
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise UsageError(f"groups is {groups!r}", hint="a positive whole number, such as 32")

    @cache
    def smallest_maps() -> dict[str, int]:
        """Return, by layer, the fewest positions of space that a call of it has."""
        return {x.name: min(prod(c.shape[2:]) for c in x.calls) for x in traced(model, inputs).layers if x.calls}

    def make(layer: Layer) -> nn.Module | str:
        return _group_norm(layer, groups, smallest_maps().get(layer.name) or 1)

    return replace_layers("to_group_norm", model, make, only=only, inputs=inputs, verify=verify)


def _group_norm(layer: Layer, groups: int, positions: int) -> nn.Module | str:
    module: Any = layer.module
    why, children = why_irreplaceable(layer)
    if why is not None:
        return why
    fitting = largest_groups(module.num_features, groups, positions)
    if fitting is None:
        raise RepairError(
            f"{label(layer.name)} has one channel on one pixel: any group would hold one value",
            hint="freeze it instead: bnguard.repair.freeze(model, only=…)",
        )
    return _GroupNorm.like(module, fitting, children)


def largest_groups(channels: int, most: int, positions: int) -> int | None:
    """Return how many groups a layer gets, None where even one group would hold a single value.

    >>> largest_groups(512, 32, 1), largest_groups(64, 32, 1), largest_groups(10, 32, 49), largest_groups(1, 32, 1)
    (32, 4, 5, None)
    """
    for count in range(min(most, channels // 2), 0, -1):
        if channels % count == 0 and channels // count * positions >= THIN_VALUES:
            return count
    return 1 if channels * positions >= 2 else None


class _GroupNorm(nn.GroupNorm):
    """GroupNorm with what a BatchNorm layer held: its parameters, and modules that it applies afterwards."""

    @classmethod
    def like(cls, module: Any, groups: int, children: list[tuple[str, nn.Module]]) -> nn.GroupNorm:  # noqa: ANN401
        """Return the layer that takes the place of ``module``; torch's own class where nothing is fused."""
        kind = cls if children else nn.GroupNorm
        new = kind(groups, module.num_features, module.eps, affine=False, device="meta")
        new.affine = module.affine
        new.weight, new.bias = module.weight, module.bias  # the very same, for optimisers that hold them
        for name, child in children:
            new.add_module(name, child)
        private.move_hooks(module, new)
        new.register_load_state_dict_pre_hook(_without_statistics)  # type: ignore[no-untyped-call]
        new.training = module.training
        return new

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in torch
        """Normalise, then apply the children in their order."""
        x = super().forward(input)
        for child in self.children():
            x = child(x)
        return x


def _without_statistics(_module: nn.Module, state: dict[str, Any], prefix: str, *_rest: object) -> None:
    """Let a state dict of the BatchNorm that stood here load: its running statistics have no place any more."""
    for name in _STATISTICS:
        state.pop(f"{prefix}{name}", None)


# -------------------------------------------------------------------------------------- SyncBatchNorm in their place


_CONDITIONS = (
    "SyncBatchNorm helps only with two ranks or more, and only where every rank has a batch at that step",
    "it takes tensors on an accelerator alone, and the model must be wrapped in DistributedDataParallel afterwards",
)


def to_sync(
    model: nn.Module,
    *,
    only: Only = None,
    process_group: Any = None,  # noqa: ANN401 - torch's ProcessGroup
    verify: bool = True,
) -> Repair:
    """Let BatchNorm layers count the samples of all ranks: ``nn.SyncBatchNorm.convert_sync_batchnorm`` on each.

    It helps under the conditions that ``Repair.notes`` hold: several ranks, a batch on each of them at every step,
    tensors on an accelerator. A rank's lone sample is then one of several. Layers used in several places stay one.

    Args:
        model: is changed in place.
        only: layers, or modules above them, by dotted name or pattern; None for all.
        process_group: of the ranks that belong together; None for all.
        verify: raise if this process has no other rank to count with, so that a lone sample would fail as before.

    Returns:
        What was changed: ``replaced`` holds the old layers by name, ``undo()`` puts them back.

    Raises:
        RepairError: there is one rank, no layer can be converted, or the model is wrapped already. Nothing is changed
            then.

    """
    if any(isinstance(m, nn.parallel.DistributedDataParallel) for m in model.modules()):
        raise RepairError(
            "DistributedDataParallel holds the model already", hint="convert it first, then wrap what comes back"
        )
    if verify and rank_and_world_size(process_group)[1] < 2:
        raise RepairError(
            "there is one rank, where SyncBatchNorm computes what BatchNorm does, and fails on one sample as it does",
            hint="call it after init_process_group, or with verify=False; on one rank merge the tail instead",
        )

    def make(layer: Layer) -> nn.Module | str:
        if isinstance(layer.module, nn.SyncBatchNorm):
            return ALREADY
        why, children = why_irreplaceable(layer)
        if why is None and children:
            why = f"({layer.type}) applies {children[0][0]} as well, which PyTorch's conversion would leave out"
        if why is None and not isinstance(layer.module, private.batch_norm_base()):
            why = f"({layer.type}) is no BatchNorm of torch's, and PyTorch converts no other"
        return why or nn.SyncBatchNorm.convert_sync_batchnorm(layer.module, process_group)  # type: ignore[no-untyped-call]

    done = replace_layers("to_sync", model, make, only=only, inputs=None, verify=False)
    verified = True if verify and done.changed else None
    return replace(done, notes=_CONDITIONS, verified=verified) if done.changed else done
