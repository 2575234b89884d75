"""SyncBatchNorm in the place of BatchNorm, by PyTorch's own conversion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from bnguard.distributed import rank_and_world_size
from bnguard.errors import RepairError
from bnguard.model import private
from bnguard.model.layers import Layer
from bnguard.repair.apply import ALREADY
from bnguard.repair.beyond import why_irreplaceable
from bnguard.repair.choose import Only
from bnguard.repair.outcome import Repair
from bnguard.repair.replace import replace_layers

CONDITIONS = (
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
        return why or _converted(layer.module, process_group)

    done = replace_layers("to_sync", model, make, only=only, inputs=None, verify=False)
    verified = True if verify and done.changed else None
    return replace(done, notes=CONDITIONS, verified=verified) if done.changed else done


def _converted(module: nn.Module, process_group: Any) -> nn.Module:  # noqa: ANN401 - see above
    new: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module, process_group)  # type: ignore[no-untyped-call]
    return new
