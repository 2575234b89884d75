"""Watching every normalisation call of a forward, and letting the forward go on past those that would raise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bnguard.facts import NormCall
from bnguard.model import private
from bnguard.model.shapes import ShapeAnswers

DEFAULT_EPS = 1e-5

_ONE_VALUE = ValueError.__name__
"""What the check for one value per statistic raises."""


@dataclass(frozen=True)
class Recorded:
    """One normalisation call: which function (or ``hand-written``), by which module, and with what."""

    function: str
    owner: nn.Module | None
    call: NormCall
    affine: bool
    tracks: bool
    momentum: float | None
    eps: float
    num_groups: int | None = None


class NormRecorder(TorchFunctionMode):
    """A mode under which a model's forward is watched.

    Args:
        layer_of: finds a layer by the identity of its running mean or weight.
        names: the names of the model's modules by identity; others on the stack are passed over.
        device: ``cuda`` or ``cpu``: whose backend the calls predict.
        compute: whether tensors have values (a real forward); otherwise shapes alone are asked.

    """

    def __init__(
        self, layer_of: Mapping[int, nn.Module], names: Mapping[int, str], device: str, *, compute: bool
    ) -> None:
        super().__init__()
        self._names = names
        self.calls: list[Recorded] = []
        self._layer_of = layer_of
        self._device = device
        self._compute = compute
        self._answers = ShapeAnswers()

    def renew(self, layer_of: Mapping[int, nn.Module]) -> None:
        """Take another map of layers, after their tensors were exchanged."""
        self._layer_of = layer_of

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Record a normalisation call, else answer as torch does."""
        kwargs = kwargs or {}
        norm = _NORMS.get(func)
        if norm is not None:
            return norm(self, *args, **kwargs)
        return func(*args, **kwargs) if self._compute else self._answers.ask(func, args, kwargs)

    def note(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        """Record that a hand-written normaliser was given this shape; what it did is found out later."""
        self.calls.append(Recorded("hand-written", module, NormCall(shape, 0, False), True, True, None, 0.0))

    def batch_norm(  # noqa: PLR0913 - the signature of F.batch_norm
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
        *,
        checked: bool = True,
    ) -> Tensor:
        """``F.batch_norm``: refuses one value per channel when training."""
        shape = tuple(input.shape)
        if len(shape) < 2 or _wrong_size(running_mean, running_var, weight, bias, channels=shape[1]):
            _raise_as_torch(input, running_mean, running_var, weight, bias, eps)
        stats = training or running_mean is None
        values = shape[0] * prod(shape[2:])
        params = weight if weight is not None else bias
        backend = partial(
            private.batch_norm_backend,
            shape,
            input.dtype,
            None if weight is None or bias is None else weight.dtype,
            None if running_mean is None or running_var is None else running_mean.dtype,
            bool(stats),
            device=self._device,
        )
        refused = _rejected(input.dtype, _dtype(params), _dtype(running_mean)) or _bad_eps(eps, training=training)
        raises = checked and training and values == 1
        call = NormCall(
            shape=shape,
            values_per_statistic=values,
            batch_statistics=stats,
            raises=raises,
            dtype=_name(input.dtype),
            param_dtype=_name(params.dtype) if params is not None else _name_of(running_mean),
            backend=backend(float(eps)),
            eps_avoids_cudnn=0 < eps < DEFAULT_EPS and backend(float(eps)) != "cudnn" == backend(DEFAULT_EPS),
            rejected=refused.message if refused else None,
            error=_ONE_VALUE if raises else refused.error if refused else None,
        )
        self._record("batch_norm", call, (running_mean, weight), params is not None, momentum, eps)
        if not self._compute:
            return input
        if call.rejected:
            return input.clone()
        # without the running statistics, so that no buffer of the user moves; without the check, so that the
        # forward goes on: with one value the result is the bias, which is what the layer would give
        mean, var = (None, None) if stats else (running_mean, running_var)
        return torch.batch_norm(input, weight, bias, mean, var, stats, 0.0, eps, False)

    def torch_batch_norm(  # noqa: PLR0913, D102 - the signature of torch.batch_norm, which checks nothing
        self,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
        cudnn_enabled: bool,  # noqa: ARG002
    ) -> Tensor:
        return self.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps, checked=False)

    def instance_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """``F.instance_norm``: refuses one value per sample and channel."""
        shape = tuple(input.shape)
        values = prod(shape[2:])
        raises = use_input_stats and values == 1
        call = NormCall(
            shape,
            values,
            use_input_stats,
            raises,
            _name(input.dtype),
            _name_of(weight),
            error=_ONE_VALUE if raises else None,
        )
        self._record("instance_norm", call, (running_mean, weight), weight is not None, momentum, eps)
        if not self._compute:
            return input
        if call.raises:
            return torch.zeros_like(input)
        mean, var = (None, None) if use_input_stats else (running_mean, running_var)
        return torch.instance_norm(input, weight, bias, mean, var, use_input_stats, 0.0, eps, False)

    def group_norm(
        self,
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """``F.group_norm``: refuses one value per group, but only at N = 1."""
        shape = tuple(input.shape)
        if len(shape) < 2 or shape[1] % num_groups:
            return torch.group_norm(input, num_groups, weight, bias, eps)
        space = prod(shape[2:])
        values = shape[1] // num_groups * space
        # torch counts N*C/G in integers (functional.py: group_norm), so that N = 1 with C = G is one value
        raises = shape[0] * shape[1] // num_groups * space == 1
        call = NormCall(
            shape,
            values,
            True,
            raises,
            _name(input.dtype),
            _name_of(weight),
            error=_ONE_VALUE if raises else None,
        )
        self._record("group_norm", call, (weight,), weight is not None, None, eps, num_groups)
        return torch.group_norm(input, num_groups, weight, bias, eps) if self._compute else input

    def _record(
        self,
        function: str,
        call: NormCall,
        tensors: tuple[Tensor | None, ...],
        affine: bool,
        momentum: float | None,
        eps: float,
        num_groups: int | None = None,
    ) -> None:
        known = (self._layer_of.get(id(t)) for t in tensors if t is not None)
        owner = next((m for m in known if m is not None), None) or self._calling_module()
        tracks = function != "group_norm" and tensors[0] is not None
        self.calls.append(Recorded(function, owner, call, affine, tracks, momentum, eps, num_groups))

    def _calling_module(self) -> nn.Module | None:
        """Return the innermost module of the model whose method is on the stack: it made the functional call."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            if code.co_argcount:
                first = frame.f_locals.get(code.co_varnames[0])
                if isinstance(first, nn.Module) and id(first) in self._names:
                    return first
            frame = frame.f_back
        return None


_NORMS: dict[Any, Callable[..., Any]] = {
    F.batch_norm: NormRecorder.batch_norm,
    torch.batch_norm: NormRecorder.torch_batch_norm,
    F.instance_norm: NormRecorder.instance_norm,
    F.group_norm: NormRecorder.group_norm,
}


def _wrong_size(*tensors: Tensor | None, channels: int) -> bool:
    return any(t is not None and t.numel() != channels for t in tensors)


def _raise_as_torch(
    input: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> NoReturn:
    """Let the CPU kernel word the error about a channel count or rank that does not fit."""

    def small(t: Tensor | None) -> Tensor | None:
        return None if t is None else torch.zeros(t.shape, dtype=t.dtype)

    shape = tuple(input.shape)
    probe = torch.zeros((2, *shape[1:2], *(1 for _ in shape[2:])) if len(shape) > 1 else shape, dtype=input.dtype)
    F.batch_norm(probe, small(mean), small(var), small(weight), small(bias), False, 0.1, eps)
    raise RuntimeError(f"batch_norm rejects an input of shape {shape}")


class _Refusal(NamedTuple):
    """How torch refuses a call: the name of the exception's type, and the first line of its message."""

    error: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> _Refusal:
        return cls(type(error).__name__, str(error).splitlines()[0])


_REJECTED: dict[tuple[Any, ...], _Refusal | None] = {}


def _rejected(input_dtype: torch.dtype, param: torch.dtype | None, stats: torch.dtype | None) -> _Refusal | None:
    """Return torch's own words when batch_norm refuses this mix of dtypes, asked once of two values."""
    if (param is None or param is input_dtype) and (stats is None or stats is input_dtype):
        return None
    key = (input_dtype, param, stats)
    if key not in _REJECTED:

        def ones(dtype: torch.dtype | None) -> Tensor | None:
            return None if dtype is None else torch.ones(1, dtype=dtype)

        try:
            with torch.no_grad():
                torch.batch_norm(
                    torch.ones(2, 1, dtype=input_dtype),
                    ones(param),
                    ones(param),
                    ones(stats),
                    ones(stats),
                    True,
                    0.1,
                    1e-5,
                    False,
                )
        except RuntimeError as error:
            _REJECTED[key] = _Refusal.of(error)
        else:
            _REJECTED[key] = None
    return _REJECTED[key]


def _bad_eps(eps: float, *, training: bool) -> _Refusal | None:
    """Return torch's words for an eps that it rejects; which ones it rejects differs between releases."""
    if eps > 0:
        return None
    try:
        with torch.no_grad():
            F.batch_norm(torch.ones(2, 1), torch.zeros(1), torch.ones(1), training=training, eps=eps)
    except (ValueError, RuntimeError) as error:
        return _Refusal.of(error)
    return None


def _dtype(tensor: Tensor | None) -> torch.dtype | None:
    return None if tensor is None else tensor.dtype


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _name_of(tensor: Tensor | None) -> str | None:
    return None if tensor is None else _name(tensor.dtype)
