"""A copy of a model that may be run without the original noticing.

A trace must leave the user's model as it was: modes, buffers, hooks, attributes that a forward reassigns. So it
runs a structural copy whose parameters are shared (a real forward without gradient does not change them) or
have no memory at all.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from types import MethodType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bnguard import _private_torch as private
from bnguard._errors import BnguardError
from bnguard._models.build import to_meta
from bnguard._ranks import rank_and_world_size


def copy_for_trace(model: nn.Module, storage: Literal["meta", "shared"]) -> nn.Module:
    """Copy the model's structure; the user's own hooks are left out, torch's (weight_norm …) are kept.

    Args:
        model: stays as it is.
        storage: ``meta`` for parameters and buffers without memory; ``shared`` for the same parameters and
            copies of the buffers.

    Raises:
        BnguardError: the model holds something that cannot be copied.

    """
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        if storage == "meta":
            memo[id(parameter)] = to_meta(parameter)
        elif private.is_lazy(parameter):  # a forward gives it its shape: that must not be the original's
            memo[id(parameter)] = private.fresh_lazy(parameter, str(parameter.device))
        else:
            memo[id(parameter)] = parameter
    for buffer in model.buffers():
        if private.is_lazy(buffer):
            memo[id(buffer)] = private.fresh_lazy(buffer, "meta" if storage == "meta" else str(buffer.device))
        elif storage == "meta":
            memo[id(buffer)] = meta_like(buffer)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copied = copy.deepcopy(model, memo)
    except Exception as error:
        raise BnguardError(
            f"{type(model).__name__} cannot be copied for a trace: {type(error).__name__}: {error}",
            hint="scan a target that builds the model, such as `bnguard scan model.py:Net`",
        ) from error
    for module in copied.modules():
        _drop_foreign_hooks(module)
    return copied


def parameter_count(model: nn.Module) -> int:
    """Return the number of values in all parameters that have a shape."""
    return sum(p.numel() for p in model.parameters() if not private.is_lazy(p))


def meta_like(tensor: Tensor) -> Tensor:
    """Return a tensor of the same shape, strides and dtype without memory."""
    if private.is_lazy(tensor):
        shapeless: Tensor = private.fresh_lazy(tensor, "meta")
        return shapeless
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _drop_foreign_hooks(module: nn.Module) -> None:
    for hooks in private.hooks_of(module):
        for key in [k for k, h in hooks.items() if _defined_in(h).split(".")[0] != "torch"]:
            del hooks[key]  # in place: the handle of a lazy layer's own hook holds this very dictionary


def _defined_in(hook: object) -> str:
    function = getattr(hook, "func", hook)  # functools.partial
    return getattr(function, "__module__", None) or type(function).__module__


def without_ranks(modules: Iterable[nn.Module]) -> None:
    """Let the SyncBatchNorm layers of a copy count this process alone, as they do without a process group.

    With one they refuse every tensor that is not on an accelerator, and wait for the other ranks.
    """
    if rank_and_world_size()[0] is None:
        return
    alone = private.batch_norm_base().forward
    for module in modules:
        if isinstance(module, nn.SyncBatchNorm):
            module.forward = MethodType(alone, module)  # type: ignore[method-assign]


def unwrap(model: nn.Module) -> tuple[nn.Module, str]:
    """Return the model inside DataParallel, DistributedDataParallel or torch.compile, and its name prefix."""
    prefix = ""
    while True:
        inner: object = private.compiled_original(model)
        step = f"{private.COMPILED}."
        if inner is None and isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner, step = model.module, "module."
        if not isinstance(inner, nn.Module):
            return model, prefix
        model, prefix = inner, prefix + step
