"""What preflight says of a script is what the script does: whether it stops, at which step, in which layer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training.scripts import HEAD, SCRIPTS, UNKNOWN

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the scripts are forked off")
Both = dict[str, list[Any]]


def both(folder: Path, texts: dict[str, str], options: str = "") -> Both:
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(HEAD.format(options=options) + text, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "each.py"), *(str(folder / f"{name}.py") for name in texts)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=290,
    )
    assert result.returncode == 0, result.stderr
    found: Both = json.loads(result.stdout)
    return found


QUICK = (
    "plain", "skip", "first_batch_only", "caught_then_exit", "long", "long_next", "long_mask_in_model", "gathered",
)  # fmt: skip
"""Run with every test run; the others are slow together."""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return both(tmp_path_factory.mktemp("quick"), {name: SCRIPTS[name] for name in QUICK})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return both(tmp_path_factory.mktemp("scripts"), SCRIPTS)


def compare(name: str, really: dict[str, Any], report: dict[str, Any]) -> None:
    assert "error" not in report, report
    assert all(f["stops"] is not None and f["ground"] == "seen" for f in report["forecasts"]), report["forecasts"]
    stops = [f for f in report["forecasts"] if f["stops"]]
    assert report["summary"]["errors"] == len(stops)
    if not really:
        assert stops == []
        return
    (stop,) = stops
    step = None if name == "gathered_in_a_list" else really["step"]  # the harness counts on where no loader is asked
    assert (stop["layer"], stop["error"], stop["step"]) == (really["layer"], really["error"], step)
    if really["loader"] is not None and name != "zip_of_two":  # there the counting harness takes the other one
        assert stop["loader"] == really["loader"]


@pytest.mark.parametrize("name", QUICK)
def test_it_says_what_happens(name: str, quick: Both) -> None:
    compare(name, *quick[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_each_says_what_happens(name: str, run: Both) -> None:
    compare(name, *run[name])


@pytest.mark.slow
def test_long_epochs_are_not_run_whole(run: Both) -> None:
    for name in (
        "long",
        "long_even",
        "long_accumulates",
        "long_middle",
        "long_stream",
        "long_collate",
        "long_bags",
        "gathered_losses",
    ):
        assert run[name][1]["left_out"], name
    for name in ("long_break", "long_counter", "long_islice", "long_next", "long_mask_in_loop", "plain"):
        assert not run[name][1]["left_out"], name
    assert run["gathered_losses"][1]["left_out"]


@pytest.mark.slow
def test_what_was_not_reached_is_named(run: Both) -> None:
    assert run["plain"][1]["not_reached"] == []
    assert run["unused_loader"][1]["not_reached"] == [{"what": "loader", "why": "no batch was asked of it"}]
    assert run["unfrozen_later"][1]["forecasts"][0]["epoch"] == 3


@pytest.mark.slow
def test_what_the_script_catches_is_noted(run: Both) -> None:
    (forecast,) = run["caught"][1]["forecasts"]
    assert any("raises at step 3 of loader, and the script catches" in note for note in forecast["notes"])


@pytest.mark.slow
def test_where_the_time_does_not_do_nothing_is_promised(tmp_path: Path) -> None:
    for name, (_, report) in both(tmp_path, UNKNOWN, options="budget=0").items():
        forecast = next(f for f in report["forecasts"] if f["loader"] == "loader")
        assert (forecast["stops"], forecast["ground"]) == (None, "seen"), name
        assert forecast["unknown"], name
        assert forecast["reason"] == forecast["unknown"]
        assert report["summary"]["errors"] == 0
