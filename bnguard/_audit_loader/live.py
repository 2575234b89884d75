"""Live DataLoaders, by name: which ones an object holds, which of them train, and the report on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from bnguard._audit_loader.foreign import how_to_go_on, is_cut_elsewhere, loader_inside, loaders_by_name
from bnguard._audit_loader.names import mode_of
from bnguard._audit_loader.numbers import check_setup
from bnguard._audit_loader.one_loader import Inspected, Inspection, inspect
from bnguard._audit_loader.suggest import suggest
from bnguard._errors import TargetError, UsageError
from bnguard._facts.findings import Report
from bnguard._rules import judge_loaders

if TYPE_CHECKING:
    from bnguard._audit_loader.plan import Setup
    from bnguard._facts.models import Mode


class LiveRequest(NamedTuple):
    """What was asked about live loaders; the setup's batch size and workers are the loaders' own.

    ``variable`` is what the script calls the one loader, where that was seen.
    """

    setup: Setup
    names: tuple[str, ...] = ()
    eval_names: tuple[str, ...] = ()
    mode: Mode | None = None
    counting: bool = False
    progress: Callable[[int], None] | None = None
    variable: str | None = None


def audit_live(loader: object, request: LiveRequest) -> Report:
    """Return the report on every DataLoader in ``loader``, without touching any.

    Raises:
        UsageError: if names do not match the loaders.
        TargetError: if there is no DataLoader, or one whose batch_sampler never ends.
        UserCodeError: if a sampler of the user's raises.

    """
    check_setup(request.setup._replace(iterable=request.setup.shard is not None))
    inspected: list[Inspected] = []
    for name, one in _named(loader, request):
        mode = request.mode or mode_of(name, request.eval_names)
        found = inspect(one, Inspection(name, mode, request.setup, request.counting, request.progress))
        borders = found.fact.borders and not is_cut_elsewhere(one)
        inspected.append(found._replace(fact=replace(found.fact, borders=borders)))
    if request.variable is not None:
        inspected = [it._replace(fact=replace(it.fact, variable=request.variable)) for it in inspected]
    facts = tuple(it.fact for it in inspected)
    suggested = tuple(way for it in inspected if it.setup for way in suggest(it.fact, it.setup, it.fact.name_in_code))
    return Report(
        command="audit-loader",
        loaders=facts,
        suggestions=suggested,
        findings=judge_loaders(facts),
        torch=torch.__version__,
    )


def live_loaders(value: object) -> list[tuple[str, DataLoader[Any]]]:
    """Return every DataLoader in the value, in the order of an audit, under the name it has of itself."""
    return [(name, loader) for name, loader, _ in _loaders(value, "")]


def live_holders(value: object) -> list[Any]:
    """Return what gives the batches of each of these loaders: a wrapper around it, or the loader itself."""
    return [holder for _, _, holder in _loaders(value, "")]


def _named(loader: object, request: LiveRequest) -> list[tuple[str, DataLoader[Any]]]:
    found = live_loaders(loader)
    if not found:
        raise _no_loader(loader)
    names = [name for name, _ in found]
    if request.names:
        if len(request.names) != len(found):
            raise UsageError(
                f"{len(request.names)} names are given, and there are {len(found)} loaders",
                hint=f"without --names they are called {', '.join(names)}",
            )
        names = list(request.names)
    if len(set(names)) != len(names):
        raise UsageError("two loaders have one name", hint="findings are told apart by these names")
    unknown = [name for name in request.eval_names if name not in names]
    if unknown:
        raise UsageError(f"--eval {unknown[0]!r} names no loader", hint=f"the loaders are {', '.join(names)}")
    return [(name, one) for name, (_, one) in zip(names, found, strict=True)]


def _loaders(value: object, name: str) -> Iterator[tuple[str, DataLoader[Any], Any]]:
    """Yield every DataLoader in nested dicts, lists and tuples, and what holds it; other things are passed over."""
    if isinstance(value, DataLoader):
        yield name or "loader", value, value
    elif (named := loaders_by_name(value)) is not None:
        for key, item in named.items():
            yield from _loaders(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value, 1):
            yield from _loaders(item, f"{name or 'loader'} {i}")
    else:
        inner = loader_inside(value)
        if inner is not None:
            yield name or "loader", inner, value


def _no_loader(value: object) -> TargetError:
    what = type(value).__name__
    if callable(value):
        return TargetError(f"{getattr(value, '__name__', what)} is a function, not a DataLoader", hint="call it: …()")
    if isinstance(value, (list, tuple, Mapping)):
        return TargetError(f"this {what} holds no DataLoader", hint="give torch.utils.data.DataLoader objects")
    return TargetError(f"a {what} is no DataLoader", hint=how_to_go_on(value))
