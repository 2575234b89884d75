"""A copy of a model that may be run without the original noticing.

A trace must leave the user's model as it was: modes, buffers, hooks, attributes that a forward reassigns. So it
runs a structural copy whose parameters are shared (a real forward without gradient does not change them) or
have no memory at all.
"""

from __future__ import annotations

import copy
import threading
import traceback
import warnings
from collections.abc import Iterable, Iterator
from types import MethodType, TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bnguard import _private_torch as private
from bnguard._errors import BnguardError
from bnguard._models.build import to_meta
from bnguard._models.wrappers import unwrap
from bnguard._ranks import rank_and_world_size
from bnguard._trace.functions import bind_to_copies

Storage = Literal["meta", "shared", "own"]
"""Where the copy's tensors live: nowhere; parameters are those of the original; or all are copies."""

MOST_STAND_INS = 50
"""Objects that deepcopy refuses are found one by one; a model with more of them than this is refused."""


def copy_for_trace(model: nn.Module, storage: Storage) -> nn.Module:
    """Copy the model's structure, and bind its hooks and replaced methods to the copy.

    What deepcopy refuses is left out: activations of an earlier forward lose their graph, locks are new ones, and an
    open file or an iterator becomes a :class:`NotCopied`, which ends the trace if the forward uses it.

    Args:
        model: stays as it is.
        storage: ``meta`` for parameters and buffers without memory; ``shared`` for the same parameters and
            copies of the buffers; ``own`` for copies of both.

    Raises:
        BnguardError: the model holds something that cannot be copied.

    """
    given = dict(_tensors(model, storage))
    copied, memo = _copied(model, given, storage)
    bind_to_copies(memo, lambda other: dict(_tensors(other, storage)))
    for module in list(copied.modules()):
        _drop_own_hooks(module)
        _as_written(module)
    return copied


def _as_written(module: nn.Module) -> None:
    """Put models in the place of wrappers: compiled code goes on calling the original, and replicas need devices."""
    for name, child in module.named_children():
        if private.wrapped(child) is not None:
            setattr(module, name, unwrap(child))


def _tensors(model: nn.Module, storage: Storage) -> Iterator[tuple[int, Any]]:
    """Yield what takes the place of each tensor of the model, by the identity of the tensor."""
    yield from _parameters(model, storage)
    for buffer in model.buffers():
        if private.is_lazy(buffer):
            yield id(buffer), private.fresh_lazy(buffer, "meta" if storage == "meta" else str(buffer.device))
        elif storage == "meta":
            yield id(buffer), meta_like(buffer)
    for tensor in _cached([list(vars(module).values()) for module in model.modules()]):
        yield id(tensor), _without_graph(tensor, storage)


def _parameters(model: nn.Module, storage: Storage) -> Iterator[tuple[int, Any]]:
    for parameter in model.parameters():
        if storage == "meta":
            yield id(parameter), to_meta(parameter)
        elif private.is_lazy(parameter):  # a forward gives it its shape: that must not be the original's
            yield id(parameter), private.fresh_lazy(parameter, str(parameter.device))
        elif storage == "shared":
            yield id(parameter), parameter


def _cached(value: object) -> Iterator[Tensor]:
    """Yield the tensors that an earlier forward computed and kept: they belong to its graph."""
    if isinstance(value, Tensor):
        if not private.is_lazy(value) and not value.is_leaf:
            yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _cached(item)
    elif type(value) is dict:
        for item in value.values():
            yield from _cached(item)


def _without_graph(tensor: Tensor, storage: Storage) -> Tensor:
    with torch.enable_grad():
        leaf = meta_like(tensor) if storage == "meta" else tensor.detach().clone()
        return leaf.requires_grad_().clone() if tensor.requires_grad else leaf  # as it was: no leaf


def _copied(model: nn.Module, given: dict[int, Any], storage: Storage) -> tuple[nn.Module, dict[int, Any]]:
    """Return a deep copy with these objects in it, and deepcopy's memory of what became what."""
    kept: list[object] = []  # what an identity stands for must live as long as it is looked up
    while True:
        memo: dict[int, Any] = dict(given)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _learning_alike(model, copy.deepcopy(model, memo)), memo
        except Exception as error:
            refused = _refused(error.__traceback__)
            if refused is None or isinstance(refused, nn.Module) or id(refused) in given or len(kept) > MOST_STAND_INS:
                raise BnguardError(
                    f"{type(model).__name__} cannot be copied for a trace: {type(error).__name__}: {error}",
                    hint="scan a target that builds the model, such as `bnguard scan model.py:Net`",
                ) from error
            kept.append(refused)
            given[id(refused)] = _stand_in(refused, storage)


def _learning_alike(model: nn.Module, copied: nn.Module) -> nn.Module:
    """Return the copy with parameters that learn where the model's do: TorchScript's own copy forgets it."""
    for own, other in zip(model.parameters(), copied.parameters(), strict=False):
        if other.requires_grad != own.requires_grad:
            other.requires_grad_(own.requires_grad)
    return copied


def _refused(trace: TracebackType | None) -> object:
    """Return the object that deepcopy was at when it raised."""
    copying = [f for f, _ in traceback.walk_tb(trace) if f.f_code is copy.deepcopy.__code__]
    return copying[-1].f_locals.get("x") if copying else None


def _stand_in(refused: object, storage: Storage) -> object:
    if isinstance(refused, Tensor):
        return _without_graph(refused, storage)
    if isinstance(refused, torch.Generator):
        generator = torch.Generator(device=refused.device)
        generator.set_state(refused.get_state())
        return generator
    if isinstance(refused, type(threading.Lock())):
        return threading.Lock()
    return threading.RLock() if isinstance(refused, type(threading.RLock())) else NotCopied(refused)


class NotCopied:
    """Stands for an object of the model that cannot be copied; to use it ends the trace."""

    def __init__(self, original: object) -> None:
        self._kind = type(original).__name__

    def __deepcopy__(self, _: object) -> NotCopied:
        return self

    def _refuse(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - never returns
        raise BnguardError(
            f"the forward uses a {self._kind}, which cannot be copied for a trace",
            hint="scan a target that builds the model, such as `bnguard scan model.py:Net`",
        )

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - never returns
        if name.startswith("__"):  # asked by the machinery of Python, not by the forward
            raise AttributeError(name)
        return self._refuse()

    __call__ = __iter__ = __next__ = __enter__ = __exit__ = __len__ = __getitem__ = __setitem__ = _refuse


def parameter_count(model: nn.Module) -> int:
    """Return the number of values in all parameters that have a shape."""
    return sum(p.numel() for p in model.parameters() if not private.is_lazy(p))


def meta_like(tensor: Tensor) -> Tensor:
    """Return a tensor of the same shape, strides and dtype without memory."""
    if private.is_lazy(tensor):
        shapeless: Tensor = private.fresh_lazy(tensor, "meta")
        return shapeless
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _drop_own_hooks(module: nn.Module) -> None:
    """Take off the hooks by which bnguard itself watches the user's model."""
    for hooks in private.hooks_of(module):
        for key in [k for k, h in hooks.items() if _defined_in(h).split(".")[0] == "bnguard"]:
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
