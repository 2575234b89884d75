"""Batches fill a buffer of 32 rows before training on random halves of it begins; all forwards see sixteen rows."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(33, 6), torch.randint(0, 2, (33,))), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
xs, ys = torch.empty(0, 6), torch.empty(0, dtype=torch.long)
for epoch in range(2):
    for x, y in loader:
        xs, ys = torch.cat([xs, x])[-32:], torch.cat([ys, y])[-32:]
        if len(xs) < 32:
            continue
        pick = torch.randperm(32)[:16]
        opt.zero_grad()
        F.cross_entropy(model(xs[pick]), ys[pick]).backward()
        opt.step()
