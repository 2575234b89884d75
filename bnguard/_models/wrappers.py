"""Models within DataParallel, DistributedDataParallel and torch.compile, whose names the wrappers do not change."""

from __future__ import annotations

from torch import nn

from bnguard import _private_torch as private


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DataParallel, DistributedDataParallel or torch.compile."""
    while (inner := private.wrapped(model)) is not None:
        model = inner
    return model


def finds_no_device(model: nn.Module) -> bool:
    """Whether DataParallel is to spread batches over all devices that it finds, and has found none here."""
    return any(isinstance(m, nn.DataParallel) and not m.device_ids for m in model.modules())


def module_named(root: nn.Module, name: str) -> nn.Module:
    """Return the module of this name as ``get_submodule`` does, but past wrappers, which add no name.

    Raises:
        AttributeError: there is none.

    """
    current = unwrap(root)
    for part in filter(None, name.split(".")):
        current = unwrap(current.get_submodule(part))
    return current
