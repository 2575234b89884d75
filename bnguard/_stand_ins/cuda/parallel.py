"""Training on several devices, where the CPU stands in for them: replicas one after the other, ranks under gloo."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bnguard import _private_torch as private
from bnguard._ranks import rank_and_world_size
from bnguard._stand_ins.cuda.in_place import InProcess, is_cuda

if TYPE_CHECKING:
    from bnguard._stand_ins.cuda.in_place import Replaced, State


def replace(replaced: Replaced, state: State) -> None:
    """Put all of it in place."""
    replaced.put(nn.DataParallel, "__init__", functools.partial(_spread, state))
    replaced.put(nn.DataParallel, "forward", lambda _: _one_after_the_other)
    replaced.put(nn.parallel, "data_parallel", functools.partial(_spread_once, state))
    replaced.put(nn.parallel.DistributedDataParallel, "__init__", functools.partial(_on_no_device, state))
    replaced.put(nn.SyncBatchNorm, "forward", _synchronised)
    if torch.distributed.is_available():
        for owner in (torch.distributed, torch.distributed.distributed_c10d):
            replaced.put(owner, "init_process_group", functools.partial(_under_gloo, state, position=0))
            replaced.put(owner, "new_group", functools.partial(_under_gloo, state, position=2))
            replaced.put(owner, "barrier", _for_all)
    replaced.put(BaseProcess, "__init__", functools.partial(_process, state))


# ---------------------------------------------------------------------------------------------- replicas


def _spread(state: State, make: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(make)
    def __init__(  # noqa: N807 - it takes that method's place
        self: nn.DataParallel[Any],
        module: nn.Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,  # noqa: ANN401 - a device in any of its forms
        dim: int = 0,
    ) -> None:
        make(self, module, device_ids, output_device, dim)
        self.dim = dim
        if device_ids:
            state.told()
            self.device_ids = [_number(device, i) for i, device in enumerate(device_ids)]

    return __init__


def _number(device: Any, position: int) -> int:  # noqa: ANN401 - a device in any of its forms
    index = device if type(device) is int else torch.device(device).index
    return position if index is None else index


def _one_after_the_other(self: nn.DataParallel[Any], *inputs: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    if not self.device_ids:  # made where nothing stood in for a device: it has no dimension to cut along
        return self.module(*inputs, **kwargs)
    return _in_pieces(self.module, inputs, kwargs, len(self.device_ids), self.dim)


def _spread_once(state: State, _: Callable[..., Any]) -> Callable[..., Any]:
    def data_parallel(
        module: nn.Module,
        inputs: Any,  # noqa: ANN401 - as the forward takes it
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,  # noqa: ANN401, ARG001 - a device in any of its forms
        dim: int = 0,
        module_kwargs: Any = None,  # noqa: ANN401 - as the forward takes it
    ) -> Any:  # noqa: ANN401
        state.told()
        given = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
        return _in_pieces(module, given, module_kwargs or {}, len(device_ids or ()), dim)

    return data_parallel


def _in_pieces(module: nn.Module, inputs: Any, kwargs: Any, replicas: int, dim: int) -> Any:  # noqa: ANN401
    """Call the module with what each replica would get, and put the results together."""
    pieces = _pieces((inputs, kwargs), replicas, dim) if replicas > 1 else [(inputs, kwargs)]
    results = [module(*args, **named) for args, named in pieces]
    return results[0] if len(results) == 1 else _gathered(results, dim)


def _pieces(value: Any, replicas: int, dim: int) -> list[Any]:  # noqa: ANN401 - any nesting
    """Cut the tensors within as ``torch.nn.parallel.scatter`` does; there are as many pieces as the fewest chunks."""
    if isinstance(value, Tensor):
        return list(value.chunk(replicas, dim)) if value.dim() > dim else [value] * replicas
    if isinstance(value, dict):
        parts = [_pieces(part, replicas, dim) for part in value.values()]
        return [type(value)(zip(value, row, strict=True)) for row in _rows(parts, replicas)]
    if isinstance(value, (tuple, list)):
        rows = _rows([_pieces(part, replicas, dim) for part in value], replicas)
        named = hasattr(value, "_fields")
        return [type(value)(*row) if named else type(value)(row) for row in rows]
    return [value] * replicas


def _rows(parts: list[list[Any]], replicas: int) -> list[tuple[Any, ...]]:
    return list(zip(*parts, strict=False)) if parts else [()] * replicas


def _gathered(results: list[Any], dim: int) -> Any:  # noqa: ANN401 - any nesting
    """Put the results of the replicas together as ``torch.nn.parallel.gather`` does."""
    first = results[0]
    if isinstance(first, Tensor):
        return torch.cat(results, dim) if first.dim() else torch.stack(results)
    if isinstance(first, dict):
        return type(first)((key, _gathered([one[key] for one in results], dim)) for key in first)
    if isinstance(first, (tuple, list)):
        rows = [_gathered(list(row), dim) for row in zip(*results, strict=True)]
        return type(first)(*rows) if hasattr(first, "_fields") else type(first)(rows)
    return first


# ------------------------------------------------------------------------------------------------- ranks


def _on_no_device(state: State, make: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(make)
    def __init__(  # noqa: N807 - it takes that method's place
        self: Any,  # noqa: ANN401 - a DistributedDataParallel
        module: nn.Module,
        device_ids: Any = None,  # noqa: ANN401 - a list of devices
        output_device: Any = None,  # noqa: ANN401 - a device in any of its forms
        *args: Any,  # noqa: ANN401 - of any signature
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if device_ids or output_device is not None:
            state.told()
        with _layers_are(nn.SyncBatchNorm, private.batch_norm_base(), module):  # it refuses these on the CPU
            make(self, module, None, None, *args, **kwargs)

    return __init__


@contextmanager
def _layers_are(kind: type[nn.Module], other: type[nn.Module], module: nn.Module) -> Iterator[None]:
    """Within the block the layers of one class are of another one."""
    layers = [(layer, type(layer)) for layer in module.modules() if isinstance(layer, kind)]
    for layer, _ in layers:
        layer.__class__ = other
    try:
        yield
    finally:
        for layer, own in layers:
            layer.__class__ = own


def _under_gloo(state: State, original: Callable[..., Any], *, position: int) -> Callable[..., Any]:
    @functools.wraps(original)
    def grouped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - torch's own signature
        by_name = len(args) <= position
        wanted = kwargs.get("backend") if by_name else args[position]
        if wanted is None and position == 0:
            kwargs["backend"] = "gloo"  # by default there is one for CUDA as well
        elif wanted is not None and "nccl" in str(wanted).lower():
            state.told()
            if by_name:
                kwargs["backend"] = "gloo"
            else:
                args = (*args[:position], "gloo", *args[position + 1 :])
            kwargs.pop("pg_options", None)
        if is_cuda(kwargs.get("device_id")):
            del kwargs["device_id"]
        return original(*args, **kwargs)

    return grouped


def _for_all(barrier: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(barrier)
    def wait(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - torch's own signature
        kwargs.pop("device_ids", None)
        return barrier(*args, **kwargs)

    return wait


def _synchronised(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """SyncBatchNorm with ranks: torch has it for CUDA alone."""

    @functools.wraps(forward)
    def normalise(self: nn.SyncBatchNorm, input: Tensor) -> Tensor:  # noqa: A002 - as torch calls it
        ranks = rank_and_world_size()[0] is not None and rank_and_world_size(self.process_group)[1] > 1
        if not (ranks and self.training):
            alone: Tensor = private.batch_norm_base().forward(self, input)
            return alone
        dims = [d for d in range(input.dim()) if d != 1]
        count = input.new_full((1,), input.numel() // input.shape[1])
        own = torch.cat([input.sum(dims), (input * input).sum(dims), count])
        total: Tensor = _OverRanks.apply(own, self.process_group)
        channels = input.shape[1]
        mean, count = total[:channels] / total[-1], total[-1].detach()
        variance = (total[channels:-1] / total[-1] - mean * mean).clamp(min=0)
        _follow(self, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        shape = [1, channels, *[1] * (input.dim() - 2)]
        normal = (input - mean.view(shape)) / (variance.view(shape) + self.eps).sqrt()
        return normal if self.weight is None else normal * self.weight.view(shape) + self.bias.view(shape)

    return normalise


class _OverRanks(torch.autograd.Function):
    """The sum over all ranks, of the gradients too."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Any) -> Tensor:  # noqa: ANN401 - torch's own signature
        """Add up a tensor of every rank."""
        ctx.group = group
        return _OverRanks.summed(own, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:  # noqa: ANN401 - torch's own signature
        """Add up its gradient."""
        return _OverRanks.summed(gradients[0], ctx.group), None

    @staticmethod
    def summed(own: Tensor, group: Any) -> Tensor:  # noqa: ANN401 - a ProcessGroup, or None for all
        """Return the sum."""
        total = own.clone().contiguous()
        torch.distributed.all_reduce(total, group=group)
        return total


def _follow(layer: nn.SyncBatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics."""
    if not layer.track_running_stats or layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    share = layer.momentum if layer.momentum is not None else 1 / int(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, share)
    layer.running_var.lerp_(variance, share)


def _process(state: State, make: Callable[..., None]) -> Callable[..., None]:
    """Have a process of the script's, which may start anew, stand in for CUDA as well."""

    @functools.wraps(make)
    def __init__(self: BaseProcess, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, N807 - Process's own
        if kwargs.get("target") is not None:
            target = kwargs["target"]
            serves = (getattr(target, "__module__", None) or "").startswith("torch.utils.data")
            tell = None if serves else state.take_tell_in_process()
            kwargs["target"] = InProcess(target, tell, claimed=state.claimed)
        make(self, *args, **kwargs)

    return __init__
