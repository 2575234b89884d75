"""The forecast on a terminal: whether training stops, in the first line; never wider than the terminal."""

from __future__ import annotations

import io

import pytest
from forecast import nets
from rich.console import Console
from torch import nn

import bnguard
from bnguard._report.formats.console.forecasts import print_forecasts
from bnguard._report.render import render_as

IMAGE = (3, 8, 8)


def shown(model, loader, width: int = 80, encoding: str = "utf-8", quiet: bool = False, **options) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    page = Console(file=file, width=width, highlight=False, color_system=None)
    print_forecasts(bnguard.forecast(model, loader, IMAGE, **options), page, quiet=quiet)
    file.flush()
    return raw.getvalue().decode(encoding)


CASES = {
    "stops": (nets.cnn, {"n": 9, "batch_size": 8}),
    "holds": (nets.spatial, {"n": 9, "batch_size": 8}),
    "unknown": (nets.Reshapes, {"n": 9, "batch_size": 8}),
    "replicas": (nets.cnn, {"n": 13, "batch_size": 13, "replicas": 4}),
    "ranks": (nets.cnn, {"n": 36, "batch_size": 8, "world_size": 4}),
    "workers": (nets.cnn, {"n": 35, "batch_size": 4, "iterable": True, "workers": 4, "shard": "ceil"}),
    "micro": (nets.cnn, {"n": 13, "batch_size": 8, "micro_batches": 4}),
    "nothing": (nets.cnn, {"n": 5, "batch_size": 8, "drop_last": True}),
    "squeeze": (nets.Squeezes, {"n": 9, "batch_size": 8}),
    "refuses": (nets.WrongWidth, {"n": 9, "batch_size": 8}),
    "split": (nets.cnn, {"n": 18, "batch_size": 4, "split": "5:3:2"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [80, 50])
def test_never_wider_than_the_terminal(case: str, width: int):
    model, numbers = CASES[case]
    assert [line for line in shown(model(), numbers, width).splitlines() if len(line) > width] == []


@pytest.mark.parametrize("case", CASES)
def test_plain_where_the_encoding_is_plain(case: str):
    model, numbers = CASES[case]
    assert shown(model(), numbers, encoding="ascii").isascii()


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        ("stops", "✗ training on train stops at step 2 of 2 of epoch 1: 5 gets 1\u00d74, one value per channel"),
        ("holds", "✓ training on train does not stop in epoch 1: no layer fails at the batch sizes it gives (8, 1)"),
        ("unknown", "? not known whether training on train stops: at batch size 1 (step 2 of 2) the forward raises"),
        ("replicas", "✗ training on train stops at step 1 of 1 of epoch 1, in replica 3: 5 gets"),
        ("ranks", "✗ training on train stops at step 2 of 2 of epoch 1 on ranks 0 to 3: 5 gets"),
        ("micro", "✗ training on train stops at step 2 of 2 of epoch 1, in micro-batch 1: 5 gets"),
        ("nothing", "! training on train gives no batch"),
        ("squeeze", "✗ training on train stops at step 2 of 2 of epoch 1: bn loses the batch dimension (ValueError"),
        ("refuses", "✗ training on train stops at step 1 of 2 of epoch 1: bn refuses its input (RuntimeError"),
    ],
)
def test_the_first_line_is_the_answer(case: str, answer: str):
    model, numbers = CASES[case]
    assert shown(model(), numbers, 300).startswith(answer)


def test_the_gravest_answer_comes_first():
    text = shown(nets.cnn(nn.BatchNorm1d(4, track_running_stats=False)), {"n": 18, "batch_size": 4, "split": "5:3:2"})
    marks = [line[0] for line in text.splitlines() if line[:1] in "✗✓?" and line]
    assert marks == sorted(marks, key="✗?✓".index)
    assert "evaluation on val stops at step 2 of 2" in text


def test_a_whole_page(golden):
    golden("forecast-stops.txt", shown(nets.cnn(), {"n": 9, "batch_size": 8}))
    golden("forecast-holds.txt", shown(nets.spatial(), {"n": 9, "batch_size": 8}))


def test_quiet_shows_findings_alone():
    assert shown(nets.cnn(), {"n": 9, "batch_size": 8}, quiet=True).startswith("  error DL101")
    assert shown(nets.cnn(), {"n": 8, "batch_size": 8}, quiet=True) == ""


def test_several_models_are_named():
    text = render_as("console", bnguard.forecast([nets.Squeezes(), nets.Frozen()], {"n": 9, "batch_size": 8}, IMAGE))
    assert text.startswith("✗ Squeezes: training on train stops")
    assert "\n✓ Frozen: training on train does not stop" in text
