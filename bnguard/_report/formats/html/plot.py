"""Values per channel along the depth of a network: where each layer's point lies in the picture.

Across, places are percentages, so that the picture is as wide as the page and its words keep their size; down, they are
pixels on a logarithmic scale.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnguard._facts.models import THIN_VALUES, LayerFact, ModelFact, Verdict
from bnguard._report.words import named, number

HEIGHT, FLOOR = 240, 220
_TOP, _BOTTOM = 16, 208

MOST_MARKS = 300
"""More layers than these share marks: what is closer together than a pixel says nothing."""

_GRAVEST: tuple[Verdict, ...] = ("fails", "single-sample", "data-dependent", "thin", "ok", "frozen")


@dataclass(frozen=True)
class Mark:
    """A sign in the picture: ``x`` in percent, ``y`` in pixels; its shape says the verdict."""

    x: float
    y: float
    verdict: str
    title: str


@dataclass(frozen=True)
class Tick:
    """A line of the scale."""

    y: float
    label: str


@dataclass(frozen=True)
class Run:
    """Neighbours in execution order that see the same number of values and come to the same verdict."""

    first: int
    last: int
    names: tuple[str, str]
    values: int
    verdict: str


@dataclass(frozen=True)
class Plot:
    """The picture, and the same in words.

    Attributes:
        unit: what the values are counted over.
        layers: how many layers it shows.
        line: the path through all layers, in a box 1000 wide.
        marks: the signs on it.
        ticks: of the vertical scale.
        thin: the height of the threshold below which statistics are noisy, None where all layers are below.
        one: the height above which a layer sees more than one value.
        verdicts: those that the marks show, the gravest first.
        summary: one sentence.
        runs: the table.

    """

    unit: str
    layers: int
    line: str
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    thin: float | None
    one: float
    verdicts: tuple[str, ...]
    summary: str
    runs: tuple[Run, ...]


def plot_of(model: ModelFact) -> Plot | None:
    """Return the picture of a model, None where fewer than two layers were reached."""
    reached = [x for x in model.layers if x.order is not None and x.calls]
    layers = sorted(reached, key=lambda x: x.order or 0)
    if len(layers) < 2:
        return None
    values = [_values(x) for x in layers]
    decades = max(1, math.ceil(_log(max(values)) - 1e-9))
    unit = "values per channel" if all(x.norm.per == "channel" for x in layers) else "values per statistic"
    marks = tuple(_marks(layers, values, decades))
    shown = {m.verdict for m in marks}
    return Plot(
        unit=unit,
        layers=len(layers),
        line=_line(values, decades),
        marks=marks,
        ticks=tuple(_ticks(decades)),
        thin=_y(THIN_VALUES, decades) if max(values) > THIN_VALUES else None,
        one=round((_y(1, decades) + _y(2, decades)) / 2, 1),
        verdicts=tuple(v for v in _GRAVEST if v in shown),
        summary=_summary(layers, values, unit),
        runs=tuple(_runs(layers, values)),
    )


def _values(layer: LayerFact) -> int:
    return min(call.values_per_statistic for call in layer.calls)


def _log(value: int) -> float:
    return math.log10(max(value, 1))


def _y(value: int, decades: int) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * _log(value) / decades, 1)


def _x(index: float, count: int) -> float:
    return round(100 * (index + 0.5) / count, 2)


def _ticks(decades: int) -> Iterator[Tick]:
    step = -(-decades // 6)
    for power in range(0, decades + 1, step):
        yield Tick(_y(10**power, decades), f"{10**power:,}" if power < 6 else f"10^{power}")


def _buckets(count: int) -> Iterator[range]:
    """Yield the layers that share a place in the picture: each its own where there is room for all."""
    places = min(count, MOST_MARKS)
    for i in range(places):
        yield range(i * count // places, (i + 1) * count // places)


def _line(values: Sequence[int], decades: int) -> str:
    points: list[str] = []
    for bucket in _buckets(len(values)):
        x = round(10 * _x((bucket[0] + bucket[-1]) / 2, len(values)))
        here = [values[i] for i in bucket]
        points += [f"{x} {_y(value, decades):g}" for value in dict.fromkeys((here[0], min(here), max(here), here[-1]))]
    return "M" + "L".join(points)


def _marks(layers: Sequence[LayerFact], values: Sequence[int], decades: int) -> Iterator[Mark]:
    """Yield a mark for every place; where layers share one, for the gravest verdict among them."""
    for bucket in _buckets(len(layers)):
        found = Counter(layers[i].verdict for i in bucket)
        verdict = next((v for v in _GRAVEST if found[v]), None)
        if verdict is None or (len(bucket) > 1 and verdict != "fails"):
            continue
        at = next(i for i in bucket if layers[i].verdict == verdict)
        more = f" and {found[verdict] - 1:,} more" if found[verdict] > 1 else ""
        title = f"{layers[at].label}{more}: {number(values[at], 'value')}, {verdict}"
        yield Mark(_x((bucket[0] + bucket[-1]) / 2, len(layers)), _y(values[at], decades), verdict, title)


def _summary(layers: Sequence[LayerFact], values: Sequence[int], unit: str) -> str:
    failing = [x.label for x in layers if x.verdict == "fails"]
    course = f"From {values[0]:,} {unit} in {layers[0].label} to {values[-1]:,} in {layers[-1].label}"
    fewest = f"the fewest are {min(values):,}"
    if not failing:
        return f"{course}, {fewest}; no layer fails."
    return f"{course}, {fewest}; {named(failing)} fail{'s' * (len(failing) == 1)}."


def _runs(layers: Sequence[LayerFact], values: Sequence[int]) -> Iterator[Run]:
    start = 0
    for i in range(1, len(layers) + 1):
        same = i < len(layers) and values[i] == values[start] and layers[i].verdict == layers[start].verdict
        if not same:
            names = layers[start].label, layers[i - 1].label
            yield Run(start + 1, i, names, values[start], layers[start].verdict)
            start = i
