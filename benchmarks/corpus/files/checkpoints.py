"""Checkpoints are written in each step and old ones removed, a CSV grows; step 3 is the tail of one."""

import csv
from pathlib import Path
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
run = Path("runs/first")
run.mkdir(parents=True, exist_ok=True)
loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
step = 0
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        step += 1
        with open(run / "log.csv", "a", newline="") as file:
            csv.writer(file).writerow([step, loss.item()])
        torch.save({"model": model.state_dict(), "step": step}, run / f"step{step}.pt")
        (run / f"step{step - 1}.pt").unlink(missing_ok=True)
