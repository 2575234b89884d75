"""Doing something to a module as soon as it is imported: nothing is imported for the sake of a stand-in alone."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], object]


class _Afterwards(MetaPathFinder):
    """Finds what the other finders find, and has an action follow upon the execution of the module."""

    def __init__(self, actions: Mapping[str, Action]) -> None:
        self._actions = actions
        self._asking: set[str] = set()

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        action = self._actions.get(fullname)
        if action is None or fullname in self._asking:
            return None
        self._asking.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking.discard(fullname)
        loader: Any = spec and spec.loader
        if hasattr(loader, "exec_module"):
            # on the loader, which is there for this module alone: another in its place has not all that it can do
            loader.exec_module = partial(_execute_and_act, loader, action)
        return spec


def _execute_and_act(loader: Any, action: Action, module: ModuleType) -> None:  # noqa: ANN401 - of any kind
    del loader.exec_module  # the class's own is there again
    loader.exec_module(module)
    action(module)


@contextmanager
def once_imported(actions: Mapping[str, Action]) -> Iterator[None]:
    """Within the block each action is called with the module of its name: now if it is there, else after its import."""
    for name, action in actions.items():
        module = sys.modules.get(name)
        if module is not None:
            action(module)
    finder = _Afterwards({name: action for name, action in actions.items() if name not in sys.modules})
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
