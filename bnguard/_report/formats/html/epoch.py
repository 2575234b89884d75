"""An epoch as a strip: bars as high as the batches are large, and a pin where a sample is alone or training stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnguard._facts.loaders import runs_text
from bnguard._report.words import holds_one, ranks_text, single_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnguard._facts.findings import Report
    from bnguard._facts.forecasts import ForecastFact
    from bnguard._facts.loaders import LoaderFact, Stream

HEIGHT = 40
MOST_STREAMS = 16
"""Ranks and workers with plans of their own are drawn up to this many a loader; the JSON document holds all."""

_MOST_BARS = 60
"""An epoch of so few steps is drawn batch by batch, a longer one run by run."""

MOST_RUNS = 240
"""Runs beyond these share a place."""

_WIDEST, _NARROWEST, _LOWEST = 5.0, 0.4, 4


@dataclass(frozen=True)
class Bar:
    """Batches of one size: across in percent, up in pixels; ``kind`` is ``full``, ``short`` or ``lone``."""

    x: float
    width: float
    height: int
    kind: str


@dataclass(frozen=True)
class Strip:
    """The plan of one rank or worker, or of several that have the same.

    Attributes:
        whose: ranks and workers, '' where there is one of each.
        sizes: the batch sizes in words.
        steps: how many batches.
        bars: the picture; single batches come last, so that nothing covers them.
        pin: where in the picture (percent) it breaks, None where it does not.
        place: what breaks there, in words.

    """

    whose: str
    sizes: str
    steps: int
    bars: tuple[Bar, ...]
    pin: float | None
    place: str | None


def strips_of(loader: LoaderFact, report: Report) -> list[Strip]:
    """Return a strip for each plan of the loader, up to ``MOST_STREAMS``."""
    stops = [f for f in report.forecasts if f.loader == loader.name and f.stops and f.step]
    return [_strip(loader, stream, stops) for stream in loader.streams[:MOST_STREAMS]]


def _strip(loader: LoaderFact, stream: Stream, stops: Sequence[ForecastFact]) -> Strip:
    runs = [(size, count, size == 1 or holds_one(stream, i)) for i, (size, count) in enumerate(stream.batches)]
    largest = max((size for size, _, _ in runs), default=1)
    steps = stream.steps
    if steps <= _MOST_BARS:
        runs = [(size, 1, single) for size, count, single in runs for _ in range(count)]
    wide = min(100.0, _WIDEST * steps)
    bars = list(_bars(list(_fewer(runs, steps)), largest, wide))
    stop = min((f for f in stops if _is_at(f, stream)), key=lambda f: f.step or 0, default=None)
    place = single_place(loader, stream)
    if stop is not None:
        place = f"{stop.model} stops at step {stop.step:,} of {stop.steps or steps:,}"
    index = _index(stream, stop, runs) if place else None
    pin = round(min(99.0, (index + 0.5) * wide / steps), 2) if index is not None and steps else None
    ordered = tuple(sorted(bars, key=lambda b: b.kind == "lone"))
    return Strip(ranks_text(loader, stream), runs_text(stream.batches), steps, ordered, pin, place)


def _fewer(runs: Sequence[tuple[int, int, bool]], steps: int) -> Iterator[tuple[int, int, bool]]:
    """Join runs until there are few enough; a single sample is never lost in the others."""
    if len(runs) <= max(MOST_RUNS, _MOST_BARS):
        yield from runs
        return
    room = steps / MOST_RUNS
    size, count, single = 0, 0, False
    for next_size, next_count, next_lone in runs:
        size, count, single = max(size, next_size), count + next_count, single or next_lone
        if count >= room:
            yield size, count, single
            size, count, single = 0, 0, False
    if count:
        yield size, count, single


def _bars(runs: Sequence[tuple[int, int, bool]], largest: int, wide: float) -> Iterator[Bar]:
    steps = sum(count for _, count, _ in runs)
    done = 0
    for size, count, single in runs:
        width = max(_NARROWEST, wide * count / steps)
        x = min(wide * done / steps, 100 - width)
        height = max(_LOWEST, round(HEIGHT * size / largest))
        kind = "lone" if single else "full" if size == largest else "short"
        yield Bar(round(x, 3), round(width, 3), height, kind)
        done += count


def _is_at(stop: ForecastFact, stream: Stream) -> bool:
    if stop.rank is not None and not stream.ranks[0] <= stop.rank <= stream.ranks[1]:
        return False
    return stop.worker is None or bool(stream.workers and stream.workers[0] <= stop.worker <= stream.workers[1])


def _index(stream: Stream, stop: ForecastFact | None, runs: Sequence[tuple[int, int, bool]]) -> int | None:
    """Return which batch of the stream (from 0) breaks; with workers the loader counts other steps than the stream."""
    if stop is not None and stop.step and stream.workers is None:
        return stop.step - 1
    wanted = stop.batch_size if stop is not None else 1
    done = 0
    for size, count, single in runs:
        if single or size == wanted:
            return done
        done += count
    return None
