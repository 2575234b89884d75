"""Giving one module another behaviour without replacing it: its class becomes a subclass of what it was.

Parameters, buffers, hooks, names and the state dict stay as they are, and ``isinstance`` and ``torch.compile`` see the
class that was there. The module is copied and pickled as that class and what was added.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from torch import nn

Class = Any
"""A class of modules; mypy does not see that one can be hashed."""


class Added:
    """The base of what is added to a class of modules; a subclass overrides ``forward`` or ``train``."""

    label: str
    """What ``print(model)`` shows of it."""

    def extra_repr(self) -> str:
        """Show what was added, so that a printed model does not hide it."""
        shown: str = super().extra_repr()  # type: ignore[misc]
        labels = ", ".join(added.label for added in _added(type(self)))
        return f"{shown}, {labels}" if shown else labels

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        """Copy and pickle by what can be imported: the class that was there, and the classes added to it."""
        return _new, (base_class(type(self)), _added(type(self))), self.__dict__.copy()


def add(module: nn.Module, added: type[Added]) -> None:
    """Add a behaviour to this one module."""
    kind = type(module)
    if added not in _added(kind):
        module.__class__ = _combined(base_class(kind), (added, *_added(kind)))


def remove(module: nn.Module, added: type[Added]) -> None:
    """Take a behaviour away again, whichever others were added since."""
    kind = type(module)
    module.__class__ = _combined(base_class(kind), tuple(a for a in _added(kind) if a is not added))


def has(module: nn.Module, added: type[Added]) -> bool:
    """Whether the behaviour is there."""
    return added in _added(type(module))


def base_class(kind: Class) -> Class:
    """Return the class without what was added."""
    base: Class = getattr(kind, "_bnguard_base", kind)
    return base


def _added(kind: Class) -> tuple[type[Added], ...]:
    added: tuple[type[Added], ...] = getattr(kind, "_bnguard_added", ())
    return added


@lru_cache(maxsize=1024)
def _combined(base: Class, added: tuple[type[Added], ...]) -> Class:
    if not added:
        return base
    # the name and module of the class that was there: tools that treat torch's own layers as units still do
    space = {"__module__": base.__module__, "__doc__": base.__doc__, "_bnguard_base": base, "_bnguard_added": added}
    return type(base)(base.__name__, (*added, base), space)


def _new(base: Class, added: tuple[type[Added], ...]) -> Any:  # noqa: ANN401 - a module of such a class
    kind = _combined(base, added)
    return kind.__new__(kind)
