"""``recalibrate`` on two real ranks: both get the statistics of all data, and neither waits for one that failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
    import json, sys, torch
    import torch.distributed as dist
    from torch import nn
    from bnguard import BnguardError, repair

    dist.init_process_group("gloo")
    rank, seen = dist.get_rank(), {}
    data = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)) * 3 + 1
    mine = data[:7].split(3) if rank == 0 else data[7:].split(1)  # 3 batches and 2

    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm1d(4))

    def statistics(model):
        return [round(float(v), 4) for n, b in model.named_buffers() for v in b.flatten()]

    alone = net()
    repair.recalibrate(alone, [data], all_ranks=False)
    seen["alone"] = statistics(alone)
    for name, wrap in {
        "plain": lambda m: m,
        "ddp": nn.parallel.DistributedDataParallel,
        "sync": nn.SyncBatchNorm.convert_sync_batchnorm,
    }.items():
        model = wrap(net())
        done = repair.recalibrate(model, mine)
        seen[name] = statistics(model)
        seen[f"{name} done"] = [done.verified, done.batches, len(done.changed)]
    model = net()
    before = statistics(model)
    bad = {"empty": (mine if rank == 0 else [], None), "nan": ([x / (1 - rank) for x in mine], None),
           "number": (mine, 1 - rank)}
    for name, arguments in bad.items():
        try:
            repair.recalibrate(model, *arguments)
        except BnguardError as error:
            seen[name] = [str(error), statistics(model) == before]
    json.dump(seen, open(f"{sys.argv[1]}/{rank}.json", "w"))
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_ranks(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    for name in ("plain", "ddp", "sync"):
        assert first[name] == second[name]
        assert first[f"{name} done"] == second[f"{name} done"] == [True, 5, 2]
        counted = [a for a, b in zip(first[name], first["alone"], strict=True) if abs(a - b) > 1e-3]
        assert counted == [5, 5]  # num_batches_tracked; everything else is as of the whole data
    assert first["empty"][0] == (
        "rank 1 could not go on, and nothing was changed: "
        "RepairError: the loader gives no batch: there is nothing to take statistics of"
    )
    assert second["empty"][0] == "the loader gives no batch: there is nothing to take statistics of"
    assert first["nan"][0].startswith("rank 1 could not go on")
    assert second["nan"][0].startswith("batch 1 brings NaN or infinity to 1")
    assert all(seen[name][1] for seen in (first, second) for name in ("empty", "nan", "number"))
    assert second["number"][0] == "batches=0 is no number of batches"
