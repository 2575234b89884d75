"""The console report of a scan: golden files at 80 columns, and names that try to be markup."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
import torch
from rich.console import Console
from torch import nn

import bnguard
from bnguard._report.formats.console.models import MOST_LINES, print_models
from bnguard._report.render import render_as

WIDTH = 80  # of the golden files, which name the lines of ``Mixed`` too


def text(report: bnguard.Report, *, quiet: bool = False) -> str:
    return render_as("console", report, quiet=quiet, width=WIDTH)


class Mixed(nn.Module):
    """One layer of each verdict."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
        self.frozen = nn.BatchNorm2d(8)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
        self.unused = nn.BatchNorm1d(4)

    def train(self, mode: bool = True):
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.frozen(self.stem(x)))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_model_with_every_verdict(golden: Callable[[str, str], None], batch_size: int) -> None:
    golden(f"scan-mixed-{batch_size}.txt", text(bnguard.scan(Mixed(), (3, 32, 32), batch_size=batch_size)))


def test_a_model_without_normalisation(golden: Callable[[str, str], None]) -> None:
    golden("scan-none.txt", text(bnguard.scan(nn.Linear(4, 4), (4,))))


def test_a_forward_that_cannot_be_followed(golden: Callable[[str, str], None]) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    golden("scan-unknown.txt", text(bnguard.scan(model, (5,))))


def test_quiet_prints_findings_alone() -> None:
    shown = text(bnguard.scan(Mixed(), (3, 32, 32)), quiet=True)
    assert shown.strip().startswith("error BN101")
    assert "├" not in shown
    assert text(bnguard.scan(nn.BatchNorm1d(4), (4,), batch_size=64), quiet=True) == ""


def test_the_first_line_answers_the_question() -> None:
    lines = text(bnguard.scan(Mixed(), (3, 32, 32))).splitlines()
    assert lines[0].startswith("✗ Mixed: pool.2 fails first at batch size 1: BatchNorm2d gets 1×4×1×1, 1 value")


@pytest.mark.parametrize(
    ("name", "shown_as"),
    [
        ("[red]bold[/red]", "[red]bold[/red]"),
        ("[/]", "[/]"),
        ("[link=x]", "[link=x]"),
        ("a\nb", r"a\nb"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\\[", "\\["),
        ("ä✓\u202e", r"ä✓\u202e"),
        ("\ud800", r"\ud800"),
    ],
)
def test_names_of_layers_are_never_markup_and_never_act(name: str, shown_as: str) -> None:
    model = nn.Sequential()
    model.add_module(name, nn.BatchNorm1d(4))
    report = bnguard.scan(model, (4,))
    lines = text(report).splitlines()
    assert lines[0].startswith(f"✗ Sequential: {shown_as} fails first")
    assert json.loads(render_as("json", report))["models"][0]["first_failure"] == name


def test_a_model_of_thousands_of_layers_stays_one_screen() -> None:
    blocks = [nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4)) for _ in range(1000)]
    report = bnguard.scan(nn.Sequential(*blocks), (4,))
    shown = text(report)
    assert len(report.findings) == 2000
    assert len(shown.splitlines()) < MOST_LINES * 4


def test_no_colour_in_a_pipe_and_colour_in_a_terminal() -> None:
    report = bnguard.scan(Mixed(), (3, 32, 32))
    assert "\x1b" not in text(report)
    terminal = io.StringIO()
    print_models(report, Console(file=terminal, force_terminal=True, width=80, color_system="standard"), quiet=False)
    assert "\x1b[" in terminal.getvalue()


def test_plain_characters_where_the_terminal_has_no_others() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", newline="\n")
    print_models(bnguard.scan(Mixed(), (3, 32, 32)), Console(file=out, width=80), quiet=False)
    out.flush()
    shown = raw.getvalue().decode("ascii")
    assert shown.startswith("X Mixed: pool.2 fails first at batch size 1: BatchNorm2d gets 1x4x1x1")
    assert "<- first" in shown
    assert "?" not in shown


def test_lines_fit_the_terminal() -> None:
    assert max(map(len, text(bnguard.scan(Mixed(), (3, 32, 32))).splitlines())) <= 80


def test_thousands_of_failing_layers_stay_one_screen_however_deep() -> None:
    blocks = [
        nn.Sequential(*[nn.Sequential(*[nn.BatchNorm1d(4) for _ in range(8)]) for _ in range(10)]) for _ in range(9)
    ]
    report = bnguard.scan(nn.Sequential(*blocks), (4,))
    shown = text(report)
    assert len(report.models[0].failing) == 720
    assert len(shown.splitlines()) < MOST_LINES * 2
    assert "0  BatchNorm1d(4)  1 value  fails  below batch 2  ← first" in shown


@pytest.mark.parametrize("width", [80, 200])
def test_any_width(width: int) -> None:
    shown = render_as("console", bnguard.scan(Mixed(), (3, 32, 32)), width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert (max(map(len, shown.splitlines())) > 100) is (width == 200)
