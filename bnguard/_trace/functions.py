"""Functions that a copied model holds: hooks, replaced methods, lambdas.

``copy.deepcopy`` takes a function as it is, so that one which closes over the original model would move that model.
Here each is made again, over the copies of what it closes over.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from torch import nn

TensorsOf = Callable[[nn.Module], dict[int, Any]]
"""From a module to what takes the place of each of its tensors, by identity."""


def bind_to_copies(memo: dict[int, Any], tensors_of: TensorsOf) -> None:
    """Exchange every function within the copies for one that sees the copies.

    Args:
        memo: of ``copy.deepcopy``: from the identity of each original to its copy; what only functions hold is added.
        tensors_of: what to put in the place of the tensors of a module that only functions hold.

    """
    binder = _Binder(memo, tensors_of)
    for copied in list(memo.values()):
        for holder in (copied, getattr(copied, "__dict__", None)):
            if isinstance(holder, (dict, list)):
                items = holder.items() if isinstance(holder, dict) else enumerate(holder)
                for key, value in list(items):
                    bound = binder.bound(value)
                    if bound is not value:
                        holder[key] = bound


class _Binder:
    """Makes functions again, each once."""

    def __init__(self, memo: dict[int, Any], tensors_of: TensorsOf) -> None:
        self._memo = memo
        self._tensors_of = tensors_of
        self._cells: dict[int, CellType] = {}
        self._functions: dict[int, FunctionType] = {}
        self._originals: list[object] = []  # an identity means something only while its object lives

    def bound(self, value: Any) -> Any:  # noqa: ANN401 - whatever a model holds
        """Return the function, method or partial over the copies; anything else as it is."""
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, MethodType):
            function = self.bound(value.__func__)
            return value if function is value.__func__ else MethodType(function, value.__self__)
        if isinstance(value, partial):
            function = self.bound(value.func)
            return value if function is value.func else type(value)(function, *value.args, **value.keywords)
        if type(value) is tuple:
            parts = tuple(map(self.bound, value))
            return parts if any(a is not b for a, b in zip(parts, value, strict=True)) else value
        return value

    def _function(self, function: FunctionType) -> FunctionType:
        known = self._functions.get(id(function))
        if known is not None:
            return known
        space = self._globals(function)
        if not function.__closure__ and not function.__defaults__ and space is function.__globals__:
            return function
        cells = tuple(map(self._cell, function.__closure__ or ()))
        made = FunctionType(function.__code__, space, function.__name__, None, cells or None)
        self._functions[id(function)] = made
        self._originals.append(function)
        made.__kwdefaults__ = self._of_value(function.__kwdefaults__)
        made.__defaults__ = tuple(map(self._of_value, function.__defaults__)) if function.__defaults__ else None
        made.__dict__.update(function.__dict__)
        made.__module__, made.__qualname__ = function.__module__, function.__qualname__
        return made

    def _globals(self, function: FunctionType) -> dict[str, Any]:
        """Return the function's globals, with the copy in the place of a model that they name."""
        space = function.__globals__
        named = {n: self._memo[id(space[n])] for n in names_in(function.__code__) if id(space.get(n)) in self._memo}
        return {**space, **named} if named else space

    def _cell(self, cell: CellType) -> CellType:
        if id(cell) not in self._cells:
            made = self._cells[id(cell)] = CellType()  # before its content: a function may close over itself
            self._originals.append(cell)
            with contextlib.suppress(ValueError):  # an empty cell
                made.cell_contents = self._of_value(cell.cell_contents)
        return self._cells[id(cell)]

    def _of_value(self, value: Any) -> Any:  # noqa: ANN401 - whatever a function holds
        if id(value) in self._memo:
            return self._memo[id(value)]
        if isinstance(value, (FunctionType, MethodType, partial, tuple)):
            bound = self.bound(value)
            if bound is not value:
                return bound
        if isinstance(value, nn.Module):
            self._memo.update(self._tensors_of(value))
        before = set(self._memo)
        try:
            copied = copy.deepcopy(value, self._memo)
        except Exception:  # noqa: BLE001 - the user's object may refuse in any way; it is then watched instead
            return value
        for made in [v for k, v in self._memo.items() if k not in before]:
            self._within(made)
        return copied

    def _within(self, copied: object) -> None:
        for holder in (copied, getattr(copied, "__dict__", None)):
            if isinstance(holder, dict):
                for key, value in list(holder.items()):
                    holder[key] = self.bound(value)


def names_in(code: CodeType) -> Iterator[str]:
    """Yield the global names that a function uses, those of the functions within it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)
