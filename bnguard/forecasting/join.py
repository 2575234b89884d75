"""Layers × batches → the step at which an epoch stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from bnguard.forecast_facts import ForecastFact, SizeFact
from bnguard.loader.summary import first_with, forward_sizes
from bnguard.loader_facts import LoaderFact, Place

MOST_POSSIBLE = 64
"""Where the length of an epoch is not known, every size up to the batch size is looked at, up to this one."""


def join(model: str, loader: LoaderFact, at: Callable[[int], SizeFact]) -> ForecastFact:
    """Return where the first epoch of a loader stops.

    Args:
        model: its name.
        loader: as audited.
        at: what the model's forward does at a batch size; asked once for each size of the epoch.

    """
    known = sorted({n for s in loader.streams for n in forward_sizes(s) if n}, reverse=True)
    sizes = tuple(map(at, known))
    fact = ForecastFact(model, loader.name, loader.mode, stops=False, steps=loader.steps, sizes=sizes)
    failing = _first(loader, (s for s in sizes if s.stops))
    dark = _first(loader, (s for s in sizes if s.stops is None))
    if failing is not None:
        return _stopping(fact, loader, failing, dark)
    if dark is not None:
        return replace(fact, stops=None, unknown=_in_the_dark(fact, dark))
    if loader.unknown is None:
        return fact
    return replace(fact, stops=None, unknown=loader.unknown) if loader.streams else _without_length(fact, loader, at)


def _first(loader: LoaderFact, sizes: Iterable[SizeFact]) -> Place | None:
    return first_with({s.batch_size for s in sizes}, loader.streams, loader.micro_batches, loader.replicas)


def _stopping(fact: ForecastFact, loader: LoaderFact, place: Place, dark: Place | None) -> ForecastFact:
    stream = next(s for s in loader.streams if s.ranks[0] == place.rank)
    notes = fact.notes
    if dark is not None and (dark.step, dark.rank) < (place.step, place.rank):
        notes = (*notes, f"it may stop before that: {_in_the_dark(fact, dark)}")
    return replace(
        fact,
        stops=True,
        step=place.step,
        steps=place.steps,
        batch_size=place.piece,
        rank=place.rank,
        ranks=stream.ranks,
        replica=place.replica,
        worker=place.worker,
        micro_batch=place.micro_batch,
        at=fact.size(place.piece),
        notes=notes,
    )


def _in_the_dark(fact: ForecastFact, place: Place) -> str:
    size = fact.size(place.piece)
    why = size.unknown if size else None
    return f"at batch size {place.piece:,} (step {place.step:,} of {place.steps:,}) {why}"


def _without_length(fact: ForecastFact, loader: LoaderFact, at: Callable[[int], SizeFact]) -> ForecastFact:
    """Judge a loader whose plan is not known by the sizes that its batches can have at all."""
    most = loader.batch_size
    alone = loader.replicas == 1 and loader.micro_batches == 1
    unknown = replace(fact, stops=None, unknown=loader.unknown)
    if most is None or not alone or most > MOST_POSSIBLE:
        return unknown
    possible = tuple(at(n) for n in ((most,) if loader.drop_last else range(most, 0, -1)))
    failing = [s for s in possible if s.stops]
    if all(s.stops is False for s in possible):
        span = f"{most:,}" if len(possible) == 1 else f"1 to {most:,}"
        note = f"the plan is not known ({loader.unknown}), and no layer fails at any size it can have ({span})"
        return replace(fact, stops=False, sizes=possible, notes=(note,))
    if failing:
        at_sizes = ", ".join(f"{s.batch_size:,}" for s in failing[-3:])
        note = f"a batch of {at_sizes}, if one comes, stops at {failing[-1].label}"
        unknown = replace(unknown, notes=(note,))
    return replace(unknown, sizes=possible)
