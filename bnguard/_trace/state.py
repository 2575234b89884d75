"""What a forward may change of a model, put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from bnguard import _private_torch as private
from bnguard._trace.functions import names_in

MOST_KEPT_VALUES = 10_000_000
"""Buffers of more values than this altogether are watched, but not put back."""


class Kept:
    """Whether anything had to be put back; known at the end."""

    changed: bool = False


@contextmanager
def model_kept(model: nn.Module) -> Iterator[Kept]:
    """Give back every attribute, buffer and container of the model as it was, and whatever its hooks wrote to.

    Yields:
        An object that says at the end whether something was changed at all.

    """
    kept = Kept()
    spaces = [_Space(vars(m)) for m in model.modules() if _can_be_put_back(m)]
    lists = [_Space(value) for value in _written_by_functions(model)]
    tensors = _Tensors(model)
    try:
        yield kept
    finally:
        changed = [space.put_back() for space in spaces] + [tensors.put_back()]
        kept.changed = any(changed)
        for space in lists:
            space.put_back()


def _can_be_put_back(module: nn.Module) -> bool:
    """Whether the attributes are Python's, and none of them is to get its shape, and with it the module its class."""
    tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return not isinstance(module, private.script_module_type()) and not any(map(private.is_lazy, tensors))


class _Space:
    """A container as it was, with those right within it."""

    def __init__(self, container: Any, *, deep: bool = True) -> None:  # noqa: ANN401 - a dict, list or set
        self._container = container
        self._before = container.copy()
        values = container.values() if isinstance(container, dict) else ()
        kinds = (dict, list, set)
        self._within = [_Space(v, deep=False) for v in values if deep and isinstance(v, kinds) and hasattr(v, "copy")]

    def put_back(self) -> bool:
        """Restore the container; return whether it was changed."""
        inner = [space.put_back() for space in self._within]
        if _alike(self._container, self._before):
            return any(inner)
        self._container.clear()
        (self._container.extend if isinstance(self._container, list) else self._container.update)(self._before)
        return True


def _alike(now: Any, before: Any) -> bool:  # noqa: ANN401 - two containers of one kind
    if len(now) != len(before):
        return False
    if isinstance(now, dict):
        return all(k in before and v is before[k] for k, v in now.items())
    if isinstance(now, list):
        return all(a is b for a, b in zip(now, before, strict=True))
    return bool(now == before)


class _Tensors:
    """Values of the buffers, gradients of the parameters."""

    def __init__(self, model: nn.Module) -> None:
        buffers = [b for b in model.buffers() if not private.is_lazy(b) and not b.is_inference()]
        few = sum(b.numel() for b in buffers) <= MOST_KEPT_VALUES
        copies = [b.detach().clone() if few and private.has_values(b) else None for b in buffers]
        self._buffers = [(b, private.version(b), values) for b, values in zip(buffers, copies, strict=True)]
        self._gradients = [(p, p.grad) for p in model.parameters() if not private.is_lazy(p)]

    def put_back(self) -> bool:
        """Restore them; return whether something was changed."""
        changed = False
        for buffer, version, values in self._buffers:
            if private.version(buffer) != version:
                changed = True
                if values is not None:
                    with torch.no_grad():
                        buffer.copy_(values)
        for parameter, gradient in self._gradients:
            if parameter.grad is not gradient:
                changed = True
                parameter.grad = gradient
        return changed


def _written_by_functions(model: nn.Module) -> Iterator[Any]:
    """Yield the global containers that hooks and replaced methods name, each once."""
    seen: set[int] = set()
    for module in model.modules():
        hooks = [h for space in private.hooks_of(module) for h in space.values()]
        for function in map(_function_of, [*hooks, *vars(module).values()]):
            for name in () if function is None else names_in(function.__code__):
                value = function.__globals__.get(name)  # type: ignore[union-attr]
                if isinstance(value, (dict, list, set)) and name != "__builtins__" and id(value) not in seen:
                    seen.add(id(value))
                    yield value


def _function_of(value: object) -> FunctionType | None:
    value = value.__func__ if isinstance(value, MethodType) else value
    return value if isinstance(value, FunctionType) and not value.__module__.startswith("torch") else None
