"""Samples that were seen and have a loss above zero train on: all sixteen, every time."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(16, 6), torch.randint(0, 2, (16,)), torch.arange(16))
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
losses = torch.zeros(16)
chosen = list(range(16))
for epoch in range(3):
    for x, y, i in DataLoader(Subset(data, chosen), 4, shuffle=True):
        loss = F.cross_entropy(model(x), y, reduction="none")
        losses[i] = loss.detach()
        opt.zero_grad()
        loss.mean().backward()
        opt.step()
    chosen = (losses > 0).nonzero().flatten().tolist()
