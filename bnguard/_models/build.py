"""Building a model without giving its weights memory, initialising them or downloading them.

Shapes need no weights. Each parameter is moved to the meta device as it is registered, which, other than
``with torch.device("meta")``, leaves ordinary tensors real: ``torch.linspace(…).item()`` in a constructor works.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from bnguard import _private_torch as private
from bnguard._models.origin import Origins, recording
from bnguard._stand_ins.weights import absent_weights
from bnguard._targets.importing import refusing_to_train
from bnguard._untouched import exchange_code, paused_gc, replaced


class Construction:
    """What happened while building: where layers were created, and which weights were not fetched."""

    def __init__(self) -> None:
        self.origins = Origins()
        self.skipped: list[str] = []


@contextmanager
def watched(construction: Construction, *, download: bool = False) -> Iterator[None]:
    """Record creation lines, answer downloads or let them happen, and stop at the first sign of training."""
    with ExitStack() as stack:
        stack.enter_context(recording(construction.origins))
        if not download:
            stack.enter_context(absent_weights(lambda what, _: construction.skipped.append(what), fetch=False))
        stack.enter_context(refusing_to_train())
        yield


@contextmanager
def weightless(construction: Construction) -> Iterator[None]:
    """Within the block every parameter lives on the meta device and initialisers do nothing."""
    with ExitStack() as stack:
        stack.enter_context(watched(construction))
        stack.enter_context(paused_gc())
        stack.enter_context(replaced(nn.Module, "register_parameter", _registering_meta(nn.Module.register_parameter)))
        stack.enter_context(replaced(nn.Module, "__setattr__", _setting_plainly(nn.Module.__setattr__)))
        for initialiser in _INITIALISERS:
            exchange_code(stack, initialiser, _leave_as_is)
        if isinstance(torch.save, FunctionType):
            exchange_code(stack, torch.save, _refuse_to_save)
        yield


_INITIALISERS = tuple(
    f
    for n, f in vars(nn.init).items()
    if n.endswith("_") and not n.startswith("_") and isinstance(f, FunctionType) and f.__closure__ is None
)


def _refuse_to_save(*_: Any, **__: Any) -> None:  # noqa: ANN401 - of any signature
    # a file that saves its model while it is imported must not save one without weights over the user's checkpoint
    raise NotImplementedError("meta tensors are not saved")


def _leave_as_is(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:  # noqa: ANN401 - of any signature
    return tensor


def _registering_meta(original: Callable[..., None]) -> Callable[..., None]:
    tied: dict[int, tuple[weakref.ref[nn.Parameter], nn.Parameter]] = {}

    def register_parameter(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and isinstance(param, nn.Parameter) and not param.is_meta:
            known = tied.get(id(param))
            if known is None or known[0]() is not param:  # an id may be reused once its object is gone
                known = tied[id(param)] = (weakref.ref(param), to_meta(param))
            param = known[1]
        original(self, name, param)

    return register_parameter


_PLAIN = frozenset({int, float, bool, str, tuple, type(None)})


def _setting_plainly(original: Callable[..., None]) -> Callable[..., None]:
    """Set numbers, texts and tuples without asking whether they are parameters: half of a constructor's time."""

    def __setattr__(self: nn.Module, name: str, value: object) -> None:  # noqa: N807 - it takes that method's place
        if type(value) in _PLAIN and not private.is_registered(self, name):
            object.__setattr__(self, name, value)
        else:
            original(self, name, value)

    return __setattr__


def to_meta(param: nn.Parameter) -> nn.Parameter:
    """Return a parameter of the same shape, dtype and class without memory."""
    if isinstance(param, UninitializedParameter):
        lazy: Any = UninitializedParameter  # its stub lacks the constructor's arguments
        shapeless: nn.Parameter = lazy(param.requires_grad, device="meta", dtype=param.dtype)
        return shapeless
    meta = torch.empty_strided(param.shape, param.stride(), dtype=param.dtype, device="meta")
    return nn.Parameter(meta, param.requires_grad)
