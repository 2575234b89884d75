"""Doing something to a module as soon as it is imported: nothing is imported for the sake of a stand-in alone."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], object]
Around = Callable[[], AbstractContextManager[object]]


class _Executing(MetaPathFinder):
    """Finds what the other finders find, and has the module executed in another way, given its loader."""

    def __init__(self, ways: Mapping[str, Callable[[Any, ModuleType], object]]) -> None:
        self._ways = ways
        self._asking: set[str] = set()

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        execute = self._ways.get(fullname)
        if execute is None or fullname in self._asking:
            return None
        self._asking.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking.discard(fullname)
        loader: Any = spec and spec.loader
        if hasattr(loader, "exec_module"):
            # on the loader, which is there for this module alone: another in its place has not all that it can do
            loader.exec_module = partial(_execute, loader, execute)
        return spec


def _execute(loader: Any, way: Callable[[Any, ModuleType], object], module: ModuleType) -> None:  # noqa: ANN401
    del loader.exec_module  # the class's own is there again
    way(loader, module)


def _then(action: Action, loader: Any, module: ModuleType) -> None:  # noqa: ANN401 - a loader of any kind
    loader.exec_module(module)
    action(module)


def _within(around: Around, loader: Any, module: ModuleType) -> None:  # noqa: ANN401 - a loader of any kind
    with around():
        loader.exec_module(module)


@contextmanager
def once_imported(actions: Mapping[str, Action]) -> Iterator[None]:
    """Within the block each action is called with the module of its name: now if it is there, else after its import."""
    for name, action in actions.items():
        module = sys.modules.get(name)
        if module is not None:
            action(module)
    with _found_by(_Executing({n: partial(_then, action) for n, action in actions.items() if n not in sys.modules})):
        yield


@contextmanager
def imported_within(name: str, around: Around) -> Iterator[None]:
    """Within the block the module of this name, if it is not there yet, is imported in such a context."""
    with _found_by(_Executing({name: partial(_within, around)})):
        yield


@contextmanager
def _found_by(finder: MetaPathFinder) -> Iterator[None]:
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
