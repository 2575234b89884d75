"""What a copy of a model misses when only its parameters are followed: buffers, BatchNorm's statistics among them."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from bnguard import _private_torch as private
from bnguard._errors import RepairError, TargetError, UsageError, did_you_mean
from bnguard._models.wrappers import unwrap
from bnguard.repair._apply import Repair


def sync_buffers(source: nn.Module, copy: nn.Module) -> Repair:
    """Give a copy of a model the buffers of the original: running statistics and all others.

    An exponential moving average, a teacher or an average of clients that follows ``parameters()`` alone keeps the
    buffers that it began with, and evaluates with mean 0 and variance 1. Call this where the parameters are followed,
    or once before the copy is used. Buffers are copied, not averaged: for weights far behind those of the source
    :func:`bnguard.repair.recalibrate` finds the statistics that belong to them.

    Args:
        source: has the buffers; stays as it is.
        copy: is changed in place. Its buffers keep their dtype and device. DistributedDataParallel, DataParallel,
            ``torch.compile``, AveragedModel and other wrappers that hold one ``module`` change no name, on either side.

    Returns:
        What was changed, by the names of the modules that hold the buffers; ``undo()`` gives the old values back.

    Raises:
        RepairError: names or shapes differ. Nothing is changed then.
        UsageError: both are one model.

    """
    for model in (source, copy):
        if not isinstance(model, nn.Module):
            raise TargetError(f"a {type(model).__name__} is no model", hint="give two nn.Modules: source, copy")
    inner, other = _core(source), _core(copy)
    if inner is other:
        raise UsageError("source and copy are one model", hint="give the model and then its copy")
    given, kept = _buffers(inner), _buffers(other)
    _compare(given, kept)
    pairs = [(kept[name], tensor) for name, tensor in given.items() if kept[name] is not tensor]
    if not pairs:
        return Repair("sync_buffers", copy, notes=("there is no buffer to copy",))
    with ExitStack() as undo, torch.no_grad():
        for target, _ in pairs:
            undo.callback(_write, target, target.clone())
        for target, tensor in pairs:
            target.copy_(tensor)
        holders = dict.fromkeys(name.rpartition(".")[0] for name in given if kept[name] is not given[name])
        return Repair(
            "sync_buffers", copy, tuple(holders), verified=True, proof="by name and shape", _undo=undo.pop_all()
        )


def _core(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers, those of averages too: modules that hold one ``module`` and no buffer."""
    while True:
        inner = unwrap(model)
        holds_one = [name for name, _ in inner.named_children()] == ["module"]
        if holds_one and (isinstance(inner, AveragedModel) or not list(inner.buffers(recurse=False))):
            inner = inner.get_submodule("module")
        if inner is model:
            return model
        model = inner


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers by name; wrappers on the way add none."""
    return {
        f"{above}.{name}" if above else name: tensor
        for above, module in private.named_modules(model)
        for name, tensor in module.named_buffers(recurse=False)
    }


def _compare(given: dict[str, Tensor], kept: dict[str, Tensor]) -> None:
    """Raise for the first difference between the two models' buffers."""
    for here, there, holder, other in ((given, kept, "source", "copy"), (kept, given, "copy", "source")):
        missing = [name for name in here if name not in there]
        if missing:
            more = f" and {len(missing) - 1} more buffers" if len(missing) > 1 else ""
            raise RepairError(
                f"{missing[0]}{more} of the {holder} {'are' if more else 'is'} not in the {other}; nothing was changed",
                hint=did_you_mean(missing[0], there) or "give two models of one architecture",
            )
    for name, tensor in given.items():
        for one, holder in ((tensor, "source"), (kept[name], "copy")):
            if private.is_lazy(one):
                raise RepairError(f"{name} of the {holder} has no shape yet; nothing was changed", hint=_RUN_FIRST)
            if not private.has_values(one):
                raise RepairError(f"{name} of the {holder} is on the meta device; nothing was changed")
        if tensor.shape != kept[name].shape:
            raise RepairError(
                f"{name} has the shape {tuple(tensor.shape)} in the source and {tuple(kept[name].shape)} in the copy; "
                "nothing was changed",
                hint="give two models of one architecture",
            )


_RUN_FIRST = "run one forward of it first"


def _write(target: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        target.copy_(values)
