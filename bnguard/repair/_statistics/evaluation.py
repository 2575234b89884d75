"""Normalisation layers in eval mode for a while, and nothing else of the model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from bnguard._errors import TargetError
from bnguard._models.layers import find_layers
from bnguard.repair._apply import label


@contextmanager
def batch_statistics_off(model: nn.Module) -> Iterator[tuple[str, ...]]:
    """Within the block normalisation layers use their running statistics, and do not move them.

    For forwards that do not train: an agent that acts, a probe of shapes, a summary, a validation loss with dropout on,
    an export. One sample passes, and with several ranks SyncBatchNorm waits for none. All other modules keep their
    modes. At the end, after an error too, each layer is in the mode in which it was found; blocks may be nested. A
    ``model.train()`` within the block switches the layers on again.

    Args:
        model: its layers' modes are changed within the block, and nothing else.

    Yields:
        The dotted names of the layers that were switched, in ``named_modules`` order: those that were in train mode.

    Raises:
        TargetError: this is no ``nn.Module``.

    Warns:
        UserWarning: a layer without running statistics uses those of the batch in eval mode too.

    """
    if not isinstance(model, nn.Module):
        raise TargetError(f"a {type(model).__name__} is no model", hint="give an nn.Module")
    layers = [x for x in find_layers(model) if x.kind.running_statistics]
    stuck = [x for x in layers if x.kind.crosses_samples and not x.track_running_stats]
    if stuck:
        warnings.warn(
            f"{label(stuck[0].name)} ({stuck[0].type}) keeps no running statistics (track_running_stats=False): "
            "it uses those of the batch in eval mode too",
            stacklevel=3,  # past contextlib
        )
    found = [(x, x.module.training) for x in layers]
    try:
        for layer, _ in found:
            layer.module.training = False  # of this module alone: a fused dropout goes on, and train() may do more
        yield tuple(layer.name for layer, mode in found if mode)
    finally:
        for layer, mode in found:
            layer.module.training = mode
