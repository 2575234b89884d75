"""The table of ``docs/frameworks.md``, made anew for the frameworks that install quickly; it holds what it says.

``benchmarks/frameworks.py`` runs all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import frameworks
import pytest

PAGE = Path(__file__).parent.parent / "docs/frameworks.md"
QUICK = ("hydra_app", "typer_app", "fire_app", "ignite_trainer", "skorch_classifier", "webdataset_samples")
"""About ten seconds each, two at a time; the libraries are in the extra ``test``."""


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, Future[dict[str, Any]]]]:
    rows = [row for row in frameworks.ROWS if row.script in QUICK and row.version() is not None]
    with ThreadPoolExecutor(2) as pool:
        yield {row.script: pool.submit(frameworks.ask, row) for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("script", QUICK)
def test_no_use_is_wrong(script: str, answers: dict[str, Future[dict[str, Any]]]) -> None:
    (row,) = [row for row in frameworks.ROWS if row.script == script]
    if script not in answers:
        pytest.skip(f"{row.package} is not installed")
    cells = answers[script].result()["cells"]
    assert {use: cell for use, cell in cells.items() if cell["outcome"] == "wrong"} == {}
    assert set(cells) == set(frameworks.USES)


def test_every_script_is_a_row_and_none_is_wrong_in_the_page() -> None:
    scripts = {p.stem for p in frameworks.SCRIPTS.glob("*.py") if not p.name.startswith("_")}
    assert {row.script for row in frameworks.ROWS} == scripts
    page = PAGE.read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(frameworks.ROWS)
    assert not [line for line in table if "✗" in line]


@pytest.mark.parametrize(
    ("stops", "outcome"),
    [
        ([(3, "net.1")], "right"),
        ([(2, "net.1")], "wrong"),
        ([(3, "net.3")], "wrong"),
        ([(3, "net.1"), (1, "net.1")], "wrong"),
        ([], "wrong"),
        ([None], "refused"),
    ],
)
def test_a_forecast_is_right_at_that_step_in_that_layer_alone(stops: list[Any], outcome: str) -> None:
    truth = frameworks.Truth(("net.1",), 3, "ValueError", frozenset(), frozenset())
    forecasts = [
        {"stops": None, "reason": "why"} if s is None else {"stops": True, "step": s[0], "layer": s[1]} for s in stops
    ]
    assert frameworks._place([{"forecasts": forecasts}], truth).outcome == outcome


def test_what_is_lost_or_fails_does_not_train_through() -> None:
    truth = frameworks.Truth(("net.1",), 3, "ValueError", frozenset(), frozenset({"a", "b"}))

    def outcome(code: int, *rows: str, **noted: Any) -> str:
        return frameworks.trains_through(frameworks.Ran(code, "", "error", [{"rows": rows, **noted}]), truth).outcome

    assert outcome(0, "a", "b") == "right"
    assert outcome(0, "a") == "wrong"
    assert outcome(1, "a", "b") == "wrong"
    assert outcome(0, "a", "b", refused="no", hint="way") == "refused"
