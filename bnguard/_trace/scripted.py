"""TorchScript: its calls are seen where they reach the dispatcher, and its error names no layer.

The check for one value per channel raises before any operator runs. So the same forward with one sample more says
which layer would have come next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from bnguard import _private_torch as private
from bnguard._facts.models import NormCall
from bnguard._models.layers import Layer
from bnguard._trace.record import RecordedCall

_REFUSED = "Expected more than 1 value per channel"


class ScriptedCalls(private.dispatch_mode()):  # type: ignore[misc]
    """A mode under which the BatchNorm calls of compiled code are recorded.

    Args:
        layers: of the scripted model; a call names its layer by the running mean or the weight.

    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.calls: list[RecordedCall] = []
        tensors = [(getattr(x.module, name, None), x) for x in layers for name in ("running_mean", "weight")]
        self._owners = [(t, x) for t, x in tensors if isinstance(t, Tensor)]

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - as torch declares it
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - as torch declares it
        """Record a call of BatchNorm, and run any operator."""
        if "batch_norm" in str(func) and "backward" not in str(func):
            given = [a for a in args[1:5] if isinstance(a, Tensor)]
            layer = next((x for t, x in self._owners for g in given if _same(t, g)), None)
            if layer is not None:
                uses_batch = next((a for a in args[3:] if isinstance(a, bool)), True)
                self.calls.append(_recorded(layer, tuple(args[0].shape), batch_statistics=uses_batch))
        return func(*args, **(kwargs or {}))


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.data_ptr() == other.data_ptr() != 0 and one.shape == other.shape)


def _recorded(layer: Layer, shape: tuple[int, ...], *, batch_statistics: bool) -> RecordedCall:
    values = layer.kind.values(shape, layer.options)
    call = NormCall(shape, values, batch_statistics)
    tracks = layer.track_running_stats
    return RecordedCall(
        layer.kind, layer.module, call, layer.num_features, layer.affine, tracks, layer.momentum, layer.eps
    )


def is_refused(error: BaseException | None) -> bool:
    """Whether compiled code ended with the check for one value per channel."""
    return error is not None and _REFUSED in str(error)


def with_refused(calls: Sequence[RecordedCall], more: Sequence[RecordedCall], batch_size: int) -> list[RecordedCall]:
    """Return the calls of a forward that ended with that check, and the one at which it did.

    Args:
        calls: of that forward.
        more: of the same with one sample more.
        batch_size: of that forward.

    """
    if len(more) <= len(calls):
        return list(calls)
    following = more[len(calls)]
    rows = following.call.shape[0] * batch_size // (batch_size + 1)
    shape = (max(rows, 1), *following.call.shape[1:])
    refused = replace(following.call, shape=shape, values_per_statistic=1, raises=True, error="Error")
    return [*calls, following._replace(call=refused)]
