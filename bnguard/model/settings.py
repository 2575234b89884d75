"""Constructor arguments from the command line: ``--set key=value``."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

from bnguard.errors import UsageError

_WORDS = {"true": True, "false": False}


class Namespace(SimpleNamespace):
    """What ``--set params.hidden=64`` gives as ``params``: read by attribute or by key, as configurations are."""

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - whatever was given
        return vars(self)[key]

    def __contains__(self, key: object) -> bool:
        return key in vars(self)

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - whatever was given
        """Return the value of a key, as a dict does."""
        return vars(self).get(key, default)


def parse_settings(items: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` texts; ``params.hidden=64`` gives a namespace ``params`` with that attribute.

    A value is read as a Python literal, ``true`` and ``false`` as what they mean, and else taken as text.

    Raises:
        UsageError: a text without ``=``, a key that is no identifier, or one that is both a value and a namespace.

    """
    settings: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        path = key.strip().split(".")
        if not equals or not all(part.isidentifier() for part in path):
            raise UsageError(
                f"--set {item!r} cannot be read", hint="write --set name=value, such as --set num_classes=3"
            )
        place = settings
        for part in path[:-1]:
            inner = place.setdefault(part, Namespace())
            if not isinstance(inner, Namespace):
                raise _both(part)
            place = vars(inner)
        if isinstance(place.get(path[-1]), Namespace):
            raise _both(path[-1])
        place[path[-1]] = _value(text.strip())
    return settings


def _both(name: str) -> UsageError:
    return UsageError(
        f"--set gives {name!r} both a value and attributes", hint=f"either --set {name}=… or --set {name}.attribute=…"
    )


def _value(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def with_classes(settings: Mapping[str, Any], module: ModuleType) -> dict[str, Any]:
    """Let ``--set block=BasicBlock`` mean the class of that name in the user's file."""

    def meant(value: object) -> object:
        found = vars(module).get(value) if isinstance(value, str) else None
        return found if isinstance(found, type) else value

    return {key: meant(value) for key, value in settings.items()}
