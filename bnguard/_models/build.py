"""Building a model without giving its weights memory, initialising them or downloading them.

Shapes need no weights. Each parameter is moved to the meta device as it is registered, which, other than
``with torch.device("meta")``, leaves ordinary tensors real: ``torch.linspace(…).item()`` in a constructor works.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from bnguard import _private_torch as private
from bnguard._models.origin import Origins, recording
from bnguard._targets.importing import refusing_to_train
from bnguard._untouched import paused_gc, replaced


class SkippedWeights(OrderedDict[str, Any]):
    """Stands for a state dict that was not downloaded: any key leads to more of the same, and can be deleted."""

    def __missing__(self, key: str) -> SkippedWeights:
        return SkippedWeights()

    def __delitem__(self, key: str) -> None:
        if key in self:
            super().__delitem__(key)

    def copy(self) -> SkippedWeights:
        """Return another of these: a plain dict would not let its keys be deleted."""
        return SkippedWeights(self)

    def pop(self, key: str, *default: Any) -> Any:  # noqa: ANN401 - as dict.pop
        """Give nothing for any key, as deleting the head's weights is the usual reason to ask."""
        return super().pop(key, *default) if default or key in self else None


class Construction:
    """What happened while building: where layers were created, and which weights were not fetched."""

    def __init__(self) -> None:
        self.origins = Origins()
        self.skipped: list[str] = []


_active: list[Construction] = []


def skip_weights(url: str, *_: Any, **__: Any) -> SkippedWeights:  # noqa: ANN401 - of any signature
    """Note that these weights were asked for, and answer without network."""
    if _active:
        _active[-1].skipped.append(str(url))
    return SkippedWeights()


@contextmanager
def watched(construction: Construction, *, download: bool = False) -> Iterator[None]:
    """Record creation lines, answer downloads or let them happen, and stop at the first sign of training."""
    with ExitStack() as stack:
        _active.append(construction)
        stack.callback(_active.pop)
        stack.enter_context(recording(construction.origins))
        if not download:
            stack.enter_context(_without_downloads(construction))
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


def exchange_code(stack: ExitStack, function: FunctionType, stub: Any) -> None:  # noqa: ANN401 - a function
    """Let a function do what the stub does, under every name it was imported by: files hold their own names."""
    for attribute in ("__code__", "__defaults__", "__kwdefaults__"):
        stack.enter_context(replaced(function, attribute, getattr(stub, attribute)))


@contextmanager
def _without_downloads(construction: Construction) -> Iterator[None]:
    """Answer ``load_state_dict_from_url`` under every name it was imported by, and loading what it answered."""
    original_load = nn.Module.load_state_dict

    @functools.wraps(original_load)
    def load_state_dict(self: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if isinstance(state_dict, SkippedWeights) or construction.skipped:
            return original_load(nn.Module(), {})  # what it gives where every key fits
        return original_load(self, state_dict, *args, **kwargs)

    with ExitStack() as stack:
        for module, name, answer in _DOWNLOADS:
            function = getattr(sys.modules.get(module), name, None)
            if isinstance(function, FunctionType) and function.__closure__ is None:
                exchange_code(stack, function, answer)
        stack.enter_context(replaced(nn.Module, "load_state_dict", load_state_dict))
        yield


def _answer_without_network(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - runs with torch.hub's globals
    from bnguard._models.build import skip_weights

    return skip_weights(*args, **kwargs)


def _load_nothing(*_: Any, **__: Any) -> None:  # noqa: ANN401 - runs with timm's globals
    from bnguard._models.build import skip_weights

    skip_weights("timm")


_DOWNLOADS = (
    ("torch.hub", "load_state_dict_from_url", _answer_without_network),  # torchvision's and model_zoo's as well
    ("timm.models._builder", "load_pretrained", _load_nothing),  # timm fetches from its own hub, and then adapts
)
"""Functions that fetch weights, where their module is loaded, and what takes their place."""
