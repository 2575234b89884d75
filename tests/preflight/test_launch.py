"""Several ranks under torchrun: one report, whatever becomes of one of them, and nothing left of where they met."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TRAINING = """\
import os, signal, sys, time
import torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])

def train(samples=9, epochs=1, alone=False, before=lambda epoch: None):
    data = TensorDataset(torch.randn(samples * (1 if alone else world), 4))
    loader = DataLoader(data, batch_size=3, sampler=None if alone else DistributedSampler(data))
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    model = model if alone else DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(epochs):
        before(epoch)
        for (x,) in loader:
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()

"""
GROUP = "dist.init_process_group('gloo')\n{}\ndist.destroy_process_group()\n"


def preflight(folder: Path, code: str, *options: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(TRAINING + code, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks),
         "-m", "bnguard", "preflight", *options, "train.py"],
        capture_output=True, text=True, cwd=folder, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},
    )  # fmt: skip


def met_in(folder: Path) -> list[Path]:
    return list(folder.rglob("bnguard*"))


def report_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.stdout, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_where_nothing_fails_all_ranks_succeed(ranks: int, tmp_path: Path) -> None:
    result = preflight(tmp_path, GROUP.format("train()"), "--format", "json", ranks=ranks)
    assert result.returncode == 0, result.stderr
    (forecast,) = report_of(result)["forecasts"]
    assert (forecast["stops"], forecast["ground"], forecast["steps"]) == (False, "seen", 3)
    assert met_in(tmp_path) == []


@pytest.mark.slow
def test_a_failure_is_reported_once(tmp_path: Path) -> None:
    result = preflight(tmp_path, GROUP.format("train(samples=4)"))
    assert result.returncode == 1
    assert result.stdout.count("✗") == 1
    assert "stops at step 2 of 2 of epoch 1 on ranks 0 to 1: 1 gets" in " ".join(result.stdout.split())
    assert met_in(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_dies_is_the_cause_of_what_the_others_raise(rank: int, tmp_path: Path) -> None:
    dies = f"def before(epoch):\n    if epoch and rank == {rank}: os.kill(os.getpid(), 9)\n"
    result = preflight(tmp_path, dies + GROUP.format("train(epochs=3, before=before)"))
    assert (result.returncode, result.stdout) == (1, "")
    name = "rank 1: " if rank else ""
    assert f"\nbnguard: {name}the script's process ended without a word (killed by SIGKILL)\n" in f"\n{result.stderr}"
    assert met_in(tmp_path) == []


@pytest.mark.slow
def test_a_rank_that_never_trains_is_named_and_stops_nothing(tmp_path: Path) -> None:
    result = preflight(tmp_path, "if rank == 0:\n    train(alone=True)\n", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert {"what": "rank 1", "why": "the script ended without a training step"} in report_of(result)["not_reached"]


@pytest.mark.slow
def test_a_rank_whose_time_ends_first_is_not_the_other_ones_failure(tmp_path: Path) -> None:
    """Rank 0 begins two seconds earlier; when its time is used it goes, and rank 1 is in the middle of an epoch."""
    earlier = "if rank == 0:\n    next(iter(DataLoader(torch.randn(4, 4), 2)))\n    time.sleep(2)\n"
    endless = GROUP.format("train(epochs=10**6, before=lambda epoch: time.sleep(0.05))")
    result = preflight(tmp_path, earlier + endless, "--budget", "6", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert [f["stops"] for f in report_of(result)["forecasts"]] == [False]


@pytest.mark.slow
def test_a_rank_that_has_no_answer_is_not_left_out(tmp_path: Path) -> None:
    late = "if rank == 1:\n    time.sleep(3600)\ntrain(alone=True, samples=9 + rank)\n"
    result = preflight(tmp_path, late)
    assert (result.returncode, result.stdout) == (1, "")
    assert "bnguard: rank 1: it was ended without an answer, 20 seconds after another rank had one\n" in result.stderr


@pytest.mark.slow
def test_where_ranks_cannot_meet_each_speaks_for_itself(tmp_path: Path) -> None:
    """What stands where they would meet is open to other users, so nothing is read there."""
    spoilt = (
        "import os, pathlib, sys\n"
        "place = pathlib.Path(os.environ['TORCHELASTIC_ERROR_FILE']).parents[1] / 'bnguard-report.d'\n"
        "place.mkdir(exist_ok=True)\nplace.chmod(0o777)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'bnguard', 'preflight', 'train.py'])\n"
    )
    (tmp_path / "start.py").write_text(spoilt, encoding="utf-8")
    (tmp_path / "train.py").write_text(TRAINING + GROUP.format("train()"), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "start.py"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("which is open to other users: each speaks for itself") == 2
    assert result.stdout.count("✓ training on loader does not stop") == 2
