"""BatchNorm that takes a lone sample: with its running statistics, which it then leaves alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bnguard.distributed import rank_and_world_size
from bnguard.model.layers import Layer
from bnguard.model.norms import norms
from bnguard.repair import retype
from bnguard.repair.apply import ALREADY, apply, why_fixed
from bnguard.repair.choose import Only
from bnguard.repair.outcome import Repair, Steps


def allow_single_sample(
    model: nn.Module,
    *,
    only: Only = None,
    inputs: Any = None,  # noqa: ANN401 - see bnguard.scan
    verify: bool = True,
) -> Repair:
    """Let BatchNorm layers take a training batch that has one value per channel.

    Such a batch is normalised by the running statistics, which it does not move; every other batch is treated as
    before. Gradients flow as in eval mode. Until a first real batch has come the running statistics are 0 and 1.

    The layers keep their class, parameters and state dict; ``torch.compile``, DistributedDataParallel and half
    precision work as before. SyncBatchNorm that counts several ranks is left to PyTorch. TorchScript does not read the
    added code: take it back with ``undo()`` before scripting; an eval-mode model needs it no more.

    Args:
        model: is changed in place.
        only: layers, or modules above them, by dotted name or pattern; None for all.
        inputs: what the model takes, as for :func:`bnguard.scan`, for the verification.
        verify: scan the model again at batch size 1, and raise if a chosen layer still fails.

    Returns:
        What was changed; ``undo()`` takes it back.

    Raises:
        RepairError: no layer keeps running statistics, or one still fails. The model is then as it was.

    """
    return apply("allow_single_sample", model, _change, only=only, inputs=inputs, verify=verify)


def _change(layer: Layer, steps: Steps) -> str | None:
    module = layer.module
    why = why_not_running(layer)
    if why is None and retype.has(module, SingleSample):
        why = ALREADY
    if why is None and norms().is_synchronised(module) and not isinstance(module, nn.SyncBatchNorm):
        why = f"({layer.type}) takes its statistics over all ranks, which would wait for the one with the lone sample"
    if why is None:
        steps.done(lambda: retype.remove(module, SingleSample))
        retype.add(module, SingleSample)
    return why


def why_not_running(layer: Layer) -> str | None:
    """Return why this layer cannot use running statistics, or None if it can."""
    if why_fixed(layer) is None and not layer.track_running_stats:
        return "keeps no running statistics (track_running_stats=False)"
    return why_fixed(layer)


class SingleSample(retype.Added):
    """Added to a BatchNorm class: one value per channel is normalised as in eval mode."""

    label = "single_sample=running"
    training: bool

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - what the class below returns
        """Run the class's own forward, in eval mode for a batch that has no variance."""
        if not self.training or not _is_lone(x) or _counts_other_ranks(self):
            return super().forward(x, *args, **kwargs)  # type: ignore[misc]
        self.training = False  # of this module alone: a fused dropout goes on training
        try:
            return super().forward(x, *args, **kwargs)  # type: ignore[misc]
        finally:
            self.training = True


def _is_lone(x: Tensor) -> bool:
    """Whether there is one value per channel, as ``torch.nn.functional`` counts before it raises."""
    return x.dim() > 1 and x.numel() == x.size(1)


def _counts_other_ranks(module: Any) -> bool:  # noqa: ANN401 - a BatchNorm
    """Whether the layer takes its statistics over several ranks; then all of them must take part."""
    return isinstance(module, nn.SyncBatchNorm) and rank_and_world_size(module.process_group)[1] > 1
