"""The pictures of the page: points where their values are, bars that fill the strip, a pin at the step that breaks."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torchvision
from forecast import nets
from hypothesis import given
from hypothesis import strategies as st
from report.pages import large

import bnguard
from bnguard._facts.findings import Report
from bnguard._facts.loaders import LoaderFact, Stream
from bnguard._report.formats.html.epoch import HEIGHT, MOST_RUNS, strips_of
from bnguard._report.formats.html.plot import MOST_MARKS, plot_of
from bnguard._report.words import holds_one


@pytest.fixture(scope="module")
def resnet():
    """ResNet-18 on small images: 20 layers that see 256, 64, 16, 4 and 1 values, the last five of which fail."""
    return bnguard.scan(torchvision.models.resnet18(), (3, 32, 32)).models[0]


def test_points_lie_in_order_on_a_logarithmic_scale(resnet) -> None:
    plot = plot_of(resnet)
    assert [m.x for m in plot.marks] == sorted({m.x for m in plot.marks})
    assert [m.verdict for m in plot.marks] == ["single-sample"] * 15 + ["fails"] * 5
    levels = list(dict.fromkeys(m.y for m in plot.marks))
    assert len(levels) == 5  # each stage sees a fourth of the values of the one before: equal steps down
    steps = [after - before for before, after in itertools.pairwise(levels)]
    assert max(steps) - min(steps) < 0.2
    assert [m.y > plot.one for m in plot.marks] == [False] * 15 + [True] * 5
    at = {tick.label: tick.y for tick in plot.ticks}
    assert levels[-1] == at["1"]
    assert at["1,000"] < levels[0] < at["100"]


def test_the_table_says_the_same_as_the_plot(resnet) -> None:
    plot = plot_of(resnet)
    spelled = [(run.values, run.verdict) for run in plot.runs for _ in range(run.first, run.last + 1)]
    ordered = sorted(resnet.layers, key=lambda x: x.order)
    assert spelled == [(x.fewest_values, x.verdict) for x in ordered]
    assert [(run.first, run.last) for run in plot.runs] == [(1, 1), (2, 5), (6, 10), (11, 15), (16, 20)]
    assert plot.summary.endswith("layer4.0.bn1, layer4.0.bn2, layer4.0.downsample.1 and 2 more fail.")


def test_there_is_no_plot_of_one_layer_or_of_none_reached(resnet) -> None:
    assert plot_of(replace(resnet, layers=resnet.layers[:1])) is None
    assert plot_of(replace(resnet, layers=tuple(replace(x, order=None, calls=()) for x in resnet.layers))) is None


def test_a_failing_layer_is_never_lost_in_the_crowd() -> None:
    model = large(5000).models[0]
    alone = 4321
    layers = tuple(x if i == alone else replace(x, verdict="ok") for i, x in enumerate(model.layers))
    plot = plot_of(replace(model, layers=layers))
    (mark,) = plot.marks
    assert mark.title.startswith(model.layers[alone].name)
    assert mark.x == pytest.approx(100 * alone / 5000, abs=100 / MOST_MARKS)


def strip(*batches: tuple[int, int], **options):
    loader = LoaderFact("train", "train", None, None, False, (Stream((0, 0), batches),), **options)
    return strips_of(loader, Report("audit-loader", loaders=(loader,)))[0]


def test_few_batches_are_bars() -> None:
    found = strip((8, 2), (4, 1))
    assert [bar.kind for bar in found.bars] == ["full", "full", "short"]
    assert [bar.height for bar in found.bars] == [HEIGHT, HEIGHT, HEIGHT // 2]
    assert [bar.x for bar in found.bars] == [0, 5, 10]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 10**7)), min_size=1, max_size=40))
def test_bars_fill_the_strip(batches: list[tuple[int, int]]) -> None:
    bars = sorted(strip(*batches).bars, key=lambda b: b.x)
    assert all(0 <= bar.x <= bar.x + bar.width <= 100.001 and 0 < bar.height <= HEIGHT for bar in bars)
    assert any(bar.kind == "lone" for bar in bars) == any(size == 1 for size, _ in batches)
    reached = bars[0].x
    assert reached == 0
    for bar in bars:
        assert bar.x <= reached + 0.01
        reached = max(reached, bar.x + bar.width)


def test_many_runs_share_places_and_no_lone_sample_is_lost() -> None:
    found = strip(*itertools.chain.from_iterable(((8, 1), (1 if i == 77_777 else 7, 1)) for i in range(100_000)))
    assert len(found.bars) <= MOST_RUNS
    assert [bar.kind for bar in found.bars].count("lone") == 1
    assert found.bars[-1].x == pytest.approx(77.8, abs=0.5)


@pytest.mark.parametrize(
    ("numbers", "pins"),
    [
        ({"n": 9, "batch_size": 8}, [7.5]),
        ({"n": 8, "batch_size": 8}, [None]),
        ({"n": 8 * 10**6 + 1, "batch_size": 8}, [99.0]),
        ({"n": 17, "batch_size": 4, "world_size": 4, "sharding": "accelerate", "uneven": True}, [7.5, None]),
        ({"n": 35, "batch_size": 4, "iterable": True, "workers": 4, "shard": "ceil"}, [12.5, None]),
    ],
)
def test_the_pin_is_at_the_lone_sample(numbers: dict[str, object], pins: list[float | None]) -> None:
    report = bnguard.audit_loader(**numbers)
    (loader,) = report.loaders
    strips = strips_of(loader, report)
    assert [s.pin for s in strips] == pins
    assert [s.place is not None for s in strips] == [p is not None for p in pins]
    for found, stream in zip(strips, loader.streams, strict=True):
        lone = any(size == 1 or holds_one(stream, i) for i, (size, _) in enumerate(stream.batches))
        assert any(bar.kind == "lone" for bar in found.bars) == lone


def test_the_pin_of_a_forecast_is_where_it_stops() -> None:
    report = bnguard.forecast(nets.WrongWidth(), {"n": 9, "batch_size": 8}, (3, 8, 8))
    (found,) = strips_of(report.loaders[0], report)
    assert (report.forecasts[0].step, found.pin) == (1, 2.5)
    assert found.place == "WrongWidth stops at step 1 of 2"
