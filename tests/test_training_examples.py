"""Each training example is foreseen, then really run: it fails at that step in that layer, or runs to its end.

Where the real run fails is found by ``training/harness.py``, which does not know bnguard.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples/training"
HARNESS = Path(__file__).parent / "training/harness.py"


class Failure(NamedTuple):
    loader: str
    step: int
    layer: str


EXPECTED: dict[str, Failure | None] = {
    "accumulation_amp": Failure("train_loader", 6, "1"),
    "ddp": Failure("train_loader", 3, "net.1"),
    "deeplab": Failure("loader", 3, "classifier.0.convs.4.2"),
    "forgotten_eval": Failure("val_loader", 3, "1"),
    "frozen_backbone": None,
    "gan": Failure("loader", 4, "1"),
    "group_norm": None,
    "iterable_workers": Failure("train_loader", 4, "1"),
    "lightning_classifier": Failure("train_loader", 3, "net.1"),
    "k_fold": None,
    "own_optimizer": Failure("train_loader", 3, "1"),
    "pointnet_clouds": Failure("train_loader", 3, "transform.matrix.1"),
    "prefetcher": Failure("train_loader", 2, "2"),
    "resnet18_split": Failure("train_loader", 2, "layer4.0.bn1"),
    "siamese": Failure("loader", 3, "embed.1"),
    "skip_guard": None,
    "train_mode_validation": Failure("val_loader", 3, "encoder.1"),
    "trainer_class": None,
    "two_stages": Failure("finetune_loader", 3, "1"),
}
QUICK = ("resnet18_split", "forgotten_eval")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=ENVIRONMENT,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def really(name: str, tmp_path: Path) -> Failure | None:
    """Run the example to its end or its failure; with two processes both must say the same."""
    place = tmp_path / "outcome"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if name == "ddp" else []
    result = run(sys.executable, *launch, str(HARNESS), str(place), str(EXAMPLES / f"{name}.py"))
    outcomes = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(tmp_path.glob("outcome*"))]
    assert len(outcomes) == (2 if name == "ddp" else 1), result.stderr
    assert all(o == outcomes[0] for o in outcomes)
    if not outcomes[0]:
        return None
    assert outcomes[0].pop("error") == "ValueError"
    return Failure(**outcomes[0])


def foreseen(name: str, *launch: str) -> Failure | None:
    """Preflight the example; every model and loader must be judged, and at most one pair of them stops."""
    command = ["bnguard", "preflight", "--format", "json", f"examples/training/{name}.py"]
    result = run(sys.executable, *launch, "-m", *command)
    report = json.loads(result.stdout)
    stops = [f for f in report["forecasts"] if f["stops"]]
    assert all(f["stops"] is not None for f in report["forecasts"]), report["forecasts"]
    assert report["forecasts"]
    assert len(stops) <= 1
    assert result.returncode == len(stops)
    assert report["summary"]["errors"] == len(stops)
    if not stops:
        return None
    assert (stops[0]["epoch"], stops[0]["error"], stops[0]["ground"]) == (1, "ValueError", "seen")
    return Failure(stops[0]["loader"], stops[0]["step"], stops[0]["layer"])


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in sorted(EXPECTED)]
)
def test_what_is_foreseen_happens(name: str, tmp_path: Path) -> None:
    if name == "lightning_classifier" and importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning is not installed")
    assert foreseen(name) == EXPECTED[name]
    assert really(name, tmp_path) == EXPECTED[name]


@pytest.mark.slow
def test_torchrun_gives_one_report_for_both_ranks() -> None:
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert foreseen("ddp", *launch) == EXPECTED["ddp"]


def test_every_example_is_expected_to_do_something() -> None:
    assert sorted(EXPECTED) == sorted(p.stem for p in EXAMPLES.glob("*.py"))
