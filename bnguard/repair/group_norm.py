"""GroupNorm in the place of BatchNorm: it never looks across samples, so that one is enough."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from torch import Tensor, nn

from bnguard.errors import RepairError, UsageError
from bnguard.facts import THIN_VALUES, ModelFact
from bnguard.model import private
from bnguard.model.layers import Layer
from bnguard.repair.apply import label, traced
from bnguard.repair.beyond import why_irreplaceable
from bnguard.repair.choose import Only
from bnguard.repair.outcome import Repair
from bnguard.repair.replace import replace_layers

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
    fact: list[ModelFact] = []

    def make(layer: Layer) -> nn.Module | str:
        if not fact:
            fact.append(traced(model, inputs))
        return _group_norm(layer, groups, _smallest_maps(fact[0]).get(layer.name))

    return replace_layers("to_group_norm", model, make, only=only, inputs=inputs, verify=verify)


def _smallest_maps(fact: ModelFact) -> Mapping[str, int]:
    """Return, by layer, the fewest positions of space that a call of it has."""
    return {x.name: min(prod(c.shape[2:]) for c in x.calls) for x in fact.layers if x.calls}


def _group_norm(layer: Layer, groups: int, positions: int | None) -> nn.Module | str:
    module: Any = layer.module
    why, children = why_irreplaceable(layer)
    if why is not None:
        return why
    channels = module.num_features
    fitting = largest_groups(channels, groups, positions or 1)
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

    Args:
        channels: of the layer.
        most: groups.
        positions: of space at the smallest map.

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
