"""What the script calls its loaders and models: the variable, attribute or key that holds them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType, ModuleType
from typing import Any

from torch import nn

from bnguard import _private_torch as private
from bnguard._audit_loader.foreign import stood_for
from bnguard._preflight.passes import SeenLoader
from bnguard._preflight.recorder import Recorder
from bnguard._usercode import whose

MOST_NAMES = 2000
"""A scope or object with more names than this is not searched."""


WRAPPED = ("module", private.COMPILED, "base_dataloader", "dataloader", "loader", "pipeline")
"""Attributes under which wrappers keep what they wrap, webdataset's as the first stage: its name is the wrapper's."""


MOST_LOOKS = 64
"""After so many new loaders and models the script's frames are no longer searched for their names."""


class Names:
    """Names by object, gathered while the script's frames are still there."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._kept: list[object] = []

    def look(self, wanted: Iterable[object]) -> None:
        """Search the frames above this one, the innermost last, for these objects."""
        looked_for = {id(value): value for value in wanted}
        for scope in _scopes(sys._getframe(1)):
            for name, value in _within(scope):
                if name != "self" and id(value) in looked_for and id(value) not in self._names:
                    self._names[id(value)] = name
                    self._kept.append(value)

    def of(self, value: object) -> str | None:
        """Return the name of an object, None where nobody in sight holds it."""
        return self._names.get(id(value))

    def variable(self, value: object) -> str | None:
        """Return that name where it is one that a line of Python may hold as it stands."""
        name = self.of(value)
        return name if name is not None and name.isidentifier() else None


def distinct(names: Iterable[str]) -> list[str]:
    """Return the names with those that are alike numbered: ``loader``, ``loader 2``."""
    seen: dict[str, int] = {}
    told = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        told.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return told


def _scopes(frame: FrameType | None) -> Iterator[Mapping[str, Any]]:
    """Yield the names in sight: the script's own level first, then functions from the outermost on."""
    yield vars(sys.modules["__main__"])
    frames = []
    while frame is not None:
        if whose(frame.f_code.co_filename) == "user":
            frames.append(frame)
        frame = frame.f_back
    yield from (f.f_locals for f in reversed(frames) if f.f_locals is not f.f_globals)
    yield from ({n: f.f_globals[n] for n in f.f_code.co_names if n in f.f_globals} for f in reversed(frames))


def _within(scope: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the names of a scope, then what its objects, dicts and lists hold, and those of its objects."""
    items = [(n, v) for n, v in list(scope.items())[:MOST_NAMES] if not n.startswith("__")]
    yield from items
    attributes = [(name if n in WRAPPED else n, v) for name, value in items for n, v in _attributes(value)]
    yield from attributes
    for name, value in (*items, *attributes):
        yield from _held(name, value)


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, nn.Module):
        yield from value.named_children()
    elif not isinstance(value, (type, ModuleType)) and isinstance(inside := getattr(value, "__dict__", None), dict):
        held = [(n, v) for n, v in list(inside.items())[:MOST_NAMES] if not n.startswith("_") or n in WRAPPED]
        yield from ((n, v[0] if n == "pipeline" and isinstance(v, list) and v else v) for n, v in held)


def _held(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from ((f"{name}.{key}", v) for key, v in list(value.items())[:MOST_NAMES])
    elif isinstance(value, (list, tuple)):
        yield from ((f"{name}[{i}]", v) for i, v in enumerate(value[:MOST_NAMES]))


def look_around(recorder: Recorder, names: Names) -> None:
    """Find out how the script calls its loaders and models, while its frames are there."""
    wanted = [*(stood_for(s.loader) for s in recorder.loaders), *(u.model for u in recorder.uses)]
    wanted += [loader for loader, _ in recorder.untouched()]
    wanted += [twin for s in recorder.loaders for twin in recorder.twins(s.loader)]
    if len(wanted) <= MOST_LOOKS:
        names.look([x for x in wanted if names.of(x) is None])


def loader_names(recorder: Recorder, names: Names) -> dict[SeenLoader, str]:
    """Name every loader: as the script does, else by its line; those that one line makes share a name."""
    own = {}
    for seen in recorder.loaders:
        known = map(names.of, (stood_for(seen.loader), *recorder.twins(seen.loader)))
        own[seen] = next(filter(None, known), None) or (f"loader of {seen.source}" if seen.source else "loader")
    return _numbered(own, lambda s: (own[s], s.source or id(s)))


def model_names(recorder: Recorder, names: Names) -> dict[nn.Module, str]:
    """Name every model: as the script does, else by its class; one that is made anew keeps its name."""
    models = dict.fromkeys(u.model for u in recorder.uses)
    own = {m: names.of(m) or type(m).__name__ for m in models}
    return _numbered(own, lambda m: (own[m], type(m)))


def _numbered(own: dict[Any, str], alike: Any) -> dict[Any, str]:  # noqa: ANN401 - loaders or models, and their key
    """Return the names, with a number for those that are not alike and share one."""
    kinds = {alike(x): own[x] for x in own}
    told = dict(zip(kinds, distinct(kinds.values()), strict=True))
    return {x: told[alike(x)] for x in own}
