"""One failed normalisation call as the frames still hold it: its arguments, and what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from bnguard import _private_torch as private
from bnguard._facts.diagnosis import CONTROL, Replay
from bnguard._models.layers import TENSORS, Call, Layer, dtype_name, is_torch_batch_norm, keeps, norms
from bnguard._usercode import one_line


def call_in(frame: FrameType) -> Call | None:
    """Return the call of a normalisation function whose frame this is, or None; a cleared frame holds nothing."""
    bound = norms().by_code.get(frame.f_code)
    local = frame.f_locals
    if bound is None or bound.function.names["input"] not in local:
        return None
    code = frame.f_code
    return bound.call((), {n: local[n] for n in code.co_varnames[: code.co_argcount] if n in local})


def call_of(layer: Layer, x: Tensor) -> Call:
    """Return the call that a layer would make for this input; it may have failed before it made it."""
    bound, module = norms().first(layer.kind), layer.module
    tensors = {name: keeps(module, name) for name in TENSORS}
    own = module.training or tensors["running_mean"] is None
    known = {"input": x, **tensors, "batch_statistics": own, "eps": layer.eps, **layer.options}
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
        "memory_format": _memory_format(x),
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
    mean, weight = call.tensors.get("running_mean"), call.tensors.get("weight")
    return private.batch_norm_backend(
        tuple(call.input.shape),
        call.input.dtype,
        None if weight is None else weight.dtype,
        None if mean is None else mean.dtype,
        call.batch_statistics,
        call.eps,
        device=call.input.device.type,
    )


def _memory_format(x: Tensor) -> str:
    """Return the name of the format that the tensor's strides are those of, or ``strided``."""
    if x.is_contiguous():
        return "contiguous"
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return "channels_last"
    if x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
        return "channels_last_3d"
    return "strided"


# --------------------------------------------------------------------------------- the failed call once more, on copies


_Change = tuple[str, Callable[[], Call], AbstractContextManager[Any]]


def replays(call: Call, *, backward: bool = False, cudnn: bool = False) -> tuple[Replay, ...]:
    """Repeat the call unchanged and with each change that applies, and say which succeed.

    Nothing of the model is touched: every tensor is copied first. Normalisation draws no random numbers.

    Args:
        call: the failed call.
        backward: whether its backward failed, so that this is repeated too.
        cudnn: whether cuDNN had a part in it, so that doing without is worth a try.

    """
    if not private.has_values(call.input) or not _device_answers(call.input):
        return ()
    return tuple(_try(*change, backward=backward) for change in _changes(call, cudnn=cudnn))


def _changes(call: Call, *, cudnn: bool) -> Iterator[_Change]:
    """Yield every change that makes another call of this one."""
    x = call.input
    same = nullcontext()
    yield CONTROL, lambda: call, same
    if cudnn:
        yield "cuDNN disabled", lambda: call, torch.backends.cudnn.flags(enabled=False)
    if not x.is_contiguous():
        yield "a contiguous input", lambda: call.changed(input=x.detach().contiguous()), same
    if any(t.dtype != torch.float32 for t in call.arguments.values() if isinstance(t, Tensor)):
        yield "float32", lambda: call.mapped(lambda t: _copy(t, torch.float32)), same
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    if last is not None and x.is_contiguous() and not x.is_contiguous(memory_format=last):
        yield "another memory format", lambda: call.changed(input=x.detach().contiguous(memory_format=last)), same
    if call.batch_statistics and isinstance(call.arguments.get("running_mean"), Tensor):
        yield "running statistics", lambda: call.changed(batch_statistics=False), same
    if x.dim() > 1 and x.shape[0] and _memory_format(x) != "strided":  # doubling would change the strides too
        yield "the batch doubled", lambda: call.changed(input=torch.cat([x.detach(), x.detach()])), same
    if not call.kind.crosses_samples and x.dim() > 2:
        yield "twice the positions", lambda: call.changed(input=torch.cat([x.detach(), x.detach()], dim=-1)), same


def _try(name: str, make: Callable[[], Call], context: AbstractContextManager[Any], *, backward: bool) -> Replay:
    try:
        with context, torch.set_grad_enabled(backward):
            call = make().mapped(_copy)
            x = call.input.requires_grad_(backward)
            result = call.run()
            if backward:
                torch.autograd.grad(result.sum(), x)
            _wait(x)
    except Exception as error:  # noqa: BLE001 - what it raises is the answer
        return Replay(name, False, one_line(error))
    return Replay(name, True)


def _copy(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Copy with the same strides, which ``clone`` and ``float`` do only for a tensor without gaps."""
    dtype = tensor.dtype if dtype is None else dtype
    if 0 in tensor.stride():  # expanded: there is no memory of its own to copy into
        return tensor.detach().clone().to(dtype)
    same = torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype, device=tensor.device)
    return same.copy_(tensor.detach())


def _device_answers(x: Tensor) -> bool:
    """Whether the CUDA context is still usable: after an illegal access or an assert every call fails."""
    try:
        _wait(x)
    except RuntimeError:
        return False
    return True


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
