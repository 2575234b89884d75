"""One normalisation call as the failed frames still hold it: its arguments, what they are, and how to make it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import CodeType, FrameType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from bnguard.model import private

FUNCTIONS: Mapping[CodeType, Callable[..., Tensor]] = {
    f.__code__: f for f in (F.batch_norm, F.instance_norm, F.group_norm)
}

_STATISTICS = ("running_mean", "running_var")
_AFFINE = ("weight", "bias")


@dataclass(frozen=True)
class Call:
    """The arguments of one call of ``F.batch_norm`` or its kin, by name.

    It holds tensors: it lives as long as the diagnosing does, and no longer.
    """

    function: Callable[..., Tensor]
    arguments: Mapping[str, Any]

    @classmethod
    def of_frame(cls, frame: FrameType) -> Call:
        """Read the arguments from the frame of a function of ``FUNCTIONS``."""
        code = frame.f_code
        local = frame.f_locals
        names = code.co_varnames[: code.co_argcount]
        return cls(FUNCTIONS[code], {n: local[n] for n in names if n in local})

    @classmethod
    def of_layer(cls, layer: nn.Module, given: Tensor) -> Call:
        """Return the call that a layer would make for this input; it may have failed before it made it."""
        tensors = {n: private.own_tensor(layer, n) for n in (*_STATISTICS, *_AFFINE)}
        eps = getattr(layer, "eps", 1e-5)
        if isinstance(layer, nn.GroupNorm):
            affine = {n: tensors[n] for n in _AFFINE}
            return cls(F.group_norm, {"input": given, "num_groups": layer.num_groups, "eps": eps, **affine})
        own = layer.training or tensors["running_mean"] is None
        name = "use_input_stats" if isinstance(layer, private.instance_norm_base()) else "training"
        function = F.instance_norm if name == "use_input_stats" else F.batch_norm
        return cls(function, {"input": given, **tensors, name: own, "eps": eps})

    @property
    def input(self) -> Tensor:
        """The tensor that was to be normalised."""
        given: Tensor = self.arguments["input"]
        return given

    @property
    def batch_statistics(self) -> bool:
        """Whether the call uses the statistics of its own input."""
        told = self.arguments.get("training", self.arguments.get("use_input_stats", True))
        return bool(told) or self.arguments.get("running_mean") is None

    @property
    def params(self) -> Tensor | None:
        """Weight or bias, or else a running statistic: the tensor whose dtype must fit the input's."""
        names = (*_AFFINE, *_STATISTICS)
        return next((t for n in names if isinstance(t := self.arguments.get(n), Tensor)), None)

    def owners(self) -> Iterator[Tensor]:
        """Yield the tensors by which a layer is recognised."""
        for name in ("running_mean", "weight"):
            tensor = self.arguments.get(name)
            if isinstance(tensor, Tensor):
                yield tensor

    def changed(self, **changes: Any) -> Call:  # noqa: ANN401 - any argument
        """Return the call with some arguments replaced."""
        return replace(self, arguments={**self.arguments, **changes})

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Call:
        """Return the call with every tensor replaced."""
        changed = {n: change(v) if isinstance(v, Tensor) else v for n, v in self.arguments.items()}
        return replace(self, arguments=changed)

    def facts(self) -> dict[str, Any]:
        """Return what is known of the call, under the names of ``Diagnosis``."""
        x, params = self.input, self.params
        shape = tuple(int(n) for n in x.shape)
        return {
            "shape": shape,
            "dtype": _dtype(x),
            "param_dtype": None if params is None else _dtype(params),
            "device": str(x.device),
            "strides": tuple(int(n) for n in x.stride()),
            "contiguous": x.is_contiguous(),
            "memory_format": memory_format(x),
            "batch_statistics": self.batch_statistics,
            "eps": float(self.arguments.get("eps", 1e-5)),
            "values_per_channel": x.numel() // shape[1] if len(shape) > 1 and shape[1] else None,
            "backend": self._backend(),
        }

    def _backend(self) -> str | None:
        if self.function is not F.batch_norm or self.input.dim() < 2:
            return None
        if self.input.is_cuda and not torch.backends.cudnn.enabled:
            return "native"
        mean, weight = self.arguments.get("running_mean"), self.arguments.get("weight")
        return private.batch_norm_backend(
            tuple(self.input.shape),
            self.input.dtype,
            None if weight is None else weight.dtype,
            None if mean is None else mean.dtype,
            self.batch_statistics,
            float(self.arguments.get("eps", 1e-5)),
            device=self.input.device.type,
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


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
