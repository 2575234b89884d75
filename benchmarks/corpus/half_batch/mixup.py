"""Mixup with a permutation of the batch, and a tail of one: one row remains one row."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(13, 6), torch.randint(0, 2, (13,))), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        lam, order = torch.rand(()).item(), torch.randperm(len(x))
        out = model(lam * x + (1 - lam) * x[order])
        opt.zero_grad()
        (lam * F.cross_entropy(out, y) + (1 - lam) * F.cross_entropy(out, y[order])).backward()
        opt.step()
