"""One failed normalisation call as the frames still hold it: its arguments, and what they are."""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch
from torch import Tensor

from bnguard.model import private
from bnguard.model.layers import Layer
from bnguard.model.norms import TENSORS, Call, dtype_name, is_torch_batch_norm, keeps, norms


def call_in(frame: FrameType) -> Call | None:
    """Return the call of a normalisation function whose frame this is, or None; a cleared frame holds nothing."""
    bound = norms().by_code.get(frame.f_code)
    local = frame.f_locals
    if bound is None or bound.function.names["input"] not in local:
        return None
    code = frame.f_code
    return bound.call((), {n: local[n] for n in code.co_varnames[: code.co_argcount] if n in local})


def call_of(layer: Layer, given: Tensor) -> Call:
    """Return the call that a layer would make for this input; it may have failed before it made it."""
    bound, module = norms().first(layer.kind), layer.module
    tensors = {name: keeps(module, name) for name in TENSORS}
    own = module.training or tensors["running_mean"] is None
    known = {"input": given, **tensors, "batch_statistics": own, "eps": layer.eps, **layer.options}
    return Call(bound, {word: known[word] for word in bound.function.names if word in known})


def facts_of(call: Call) -> dict[str, Any]:
    """Return what is known of the call, under the names of ``Diagnosis``."""
    x, params = call.input, call.params
    shape = tuple(int(n) for n in x.shape)
    return {
        "kind": call.kind.name,
        "shape": shape,
        "dtype": dtype_name(x.dtype),
        "param_dtype": None if params is None else dtype_name(params.dtype),
        "device": str(x.device),
        "strides": tuple(int(n) for n in x.stride()),
        "contiguous": x.is_contiguous(),
        "memory_format": memory_format(x),
        "batch_statistics": call.batch_statistics,
        "eps": call.eps,
        "values_per_channel": x.numel() // shape[1] if len(shape) > 1 and shape[1] else None,
        "backend": _backend(call),
    }


def _backend(call: Call) -> str | None:
    if not is_torch_batch_norm(call) or call.input.dim() < 2:
        return None
    if call.input.is_cuda and not torch.backends.cudnn.enabled:
        return "native"
    mean, weight = call.tensor("running_mean"), call.tensor("weight")
    return private.batch_norm_backend(
        tuple(call.input.shape),
        call.input.dtype,
        None if weight is None else weight.dtype,
        None if mean is None else mean.dtype,
        call.batch_statistics,
        call.eps,
        device=call.input.device.type,
    )


def memory_format(x: Tensor) -> str:
    """Return the name of the format that the tensor's strides are those of, or ``strided``."""
    if x.is_contiguous():
        return "contiguous"
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return "channels_last"
    if x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
        return "channels_last_3d"
    return "strided"
