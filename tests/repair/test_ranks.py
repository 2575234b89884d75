"""The fixes on two real ranks: what DistributedDataParallel and its sampler do with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
    import json, sys, torch
    import torch.distributed as dist
    from torch import nn
    from torch.utils.data import DataLoader
    from torch.utils.data.distributed import DistributedSampler
    from bnguard import repair

    dist.init_process_group("gloo")
    rank, seen = dist.get_rank(), {}
    data = torch.randn(18, 4, generator=torch.Generator().manual_seed(1))

    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    def train(model, fix=lambda loader: loader):
        sampler = DistributedSampler(data, shuffle=True)
        loader = fix(DataLoader(data, batch_size=4, sampler=sampler))
        model = nn.parallel.DistributedDataParallel(model)
        optimiser = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.01)
        sizes = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            for x in loader:
                sizes.append(len(x))
                loss = model(x).square().mean()
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()
        return sizes, [round(p.sum().item(), 5) for p in model.parameters()]

    try:
        train(net())
    except ValueError as error:
        seen["plain"] = str(error)[:26]
    seen["merged"] = train(net(), repair.merge_tail)
    seen["balanced"] = train(net(), repair.balance)
    for name in ("allow_single_sample", "freeze", "to_group_norm"):
        model = net()
        getattr(repair, name)(model, inputs=(4,))
        seen[name] = train(model)
    synced = repair.to_sync(net())
    seen["to_sync"] = [synced.verified, type(synced.model[1]).__name__]
    json.dump(seen, open(f"{sys.argv[1]}/{rank}.json", "w"))
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_fixes_on_two_ranks(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second  # the same steps, and parameters that stayed in step
    assert first["plain"] == "Expected more than 1 value"
    assert first["merged"][0] == [4, 5] * 2
    assert first["balanced"][0] == [3, 3, 3] * 2
    for name in ("allow_single_sample", "freeze", "to_group_norm"):
        assert first[name][0] == [4, 4, 1] * 2
    assert first["to_sync"] == [True, "SyncBatchNorm"]
