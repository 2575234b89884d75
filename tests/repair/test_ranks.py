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


LIGHTNING = """
    import lightning as L, os, sys, torch
    import bnguard  # and no room of it, so that its batch sampler is imported within the hook, if not before
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    class Lit(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.seen = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)), []
        def training_step(self, batch, _):
            self.seen.append(len(batch[0]))
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    class Hooked(Lit):
        def train_dataloader(self):
            return made()

    def made():  # 18 samples are 8 + 8 + 2, but 9 on each rank
        loader = DataLoader(TensorDataset(torch.randn(18, 4), torch.arange(18) % 2), batch_size=8, shuffle=True)
        return bnguard.repair.merge_tail(loader)

    def trained(model, *loaders):
        options = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
        L.Trainer(max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", **options).fit(model, *loaders)
        os.write(1, f"{sys.argv[1]} {model.global_rank} {model.seen}\\n".encode())  # in one piece

    if __name__ == "__main__":
        trained(Hooked()) if sys.argv[1] == "inside" else trained(Lit(), made())
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_lightning_divides_a_loader_between_two_ranks(tmp_path: Path, where: str) -> None:
    """Inside and outside ``train_dataloader()``: Lightning puts a DistributedSampler below the repaired batches."""
    pytest.importorskip("lightning")
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(LIGHTNING), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), where],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        assert f"{where} {rank} [9, 9]" in done.stdout
