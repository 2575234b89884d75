"""Which parts of a batch a model's forward takes: told by its signature, most usual first; each is then tried."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from bnguard.model.inputs import Arguments
from bnguard.model.signature import parameters

Select = Callable[[Any], Arguments]
"""From a batch of any size to the arguments of the forward."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Wanted(NamedTuple):
    """What a forward can be called with."""

    positional: int
    required: tuple[str, ...]
    names: tuple[str, ...]
    any_position: bool
    any_name: bool

    @classmethod
    def by(cls, forward: Callable[..., Any]) -> Wanted:
        """Read the signature; one positional argument where Python cannot tell."""
        found = parameters(forward)
        kinds = [p.kind for p in found.values()]
        return cls(
            positional=sum(kind in _POSITIONAL for kind in kinds) if found else 1,
            required=tuple(n for n, p in found.items() if p.default is p.empty and p.kind in (*_POSITIONAL, *_BY_NAME)),
            names=tuple(n for n, p in found.items() if p.kind in _BY_NAME),
            any_position=inspect.Parameter.VAR_POSITIONAL in kinds,
            any_name=inspect.Parameter.VAR_KEYWORD in kinds,
        )


def selections(batch: Any, wanted: Wanted) -> Iterator[Select]:  # noqa: ANN401 - whatever a collate function makes
    """Yield ways to call the forward with this batch.

    ``(x, y)`` for ``forward(x)`` gives x, ``(a, b, y)`` for ``forward(a, b)`` gives a and b, a dict gives the keys that
    the forward names, and anything else is given whole.
    """
    if isinstance(batch, Mapping):
        yield from _of_mapping(batch, wanted)
    elif isinstance(batch, (tuple, list)):
        yield from _of_sequence(batch, wanted)
    else:
        yield _whole
        if not isinstance(batch, Tensor) and wanted.required and all(hasattr(batch, n) for n in wanted.required):
            yield lambda b: ((), {n: getattr(b, n) for n in wanted.required})


def _whole(batch: Any) -> Arguments:  # noqa: ANN401 - whatever a collate function makes
    return (batch,), {}


def _first(count: int) -> Select:
    return lambda batch: (tuple(batch[:count]), {})


def _inside_first(inner: Select, batch: Any) -> Arguments:  # noqa: ANN401 - whatever a collate function makes
    return inner(batch[0])


def _of_mapping(batch: Mapping[Any, Any], wanted: Wanted) -> Iterator[Select]:
    named = tuple(k for k in batch if k in wanted.names)
    if named and set(wanted.required) <= set(named):
        yield lambda b: ((), {k: b[k] for k in named})
    yield _whole
    count = max(1, len(wanted.required))
    yield lambda b: (tuple(b.values())[:count], {})
    if wanted.any_name:
        yield lambda b: ((), dict(b))


def _of_sequence(batch: tuple[Any, ...] | list[Any], wanted: Wanted) -> Iterator[Select]:
    least = max(1, len(wanted.required))
    most = len(batch) if wanted.any_position else wanted.positional
    for count in range(least, min(len(batch), most) + 1):
        yield _first(count)
    yield _whole
    if batch and isinstance(batch[0], (tuple, list, Mapping)):
        for inner in selections(batch[0], wanted):
            yield partial(_inside_first, inner)
