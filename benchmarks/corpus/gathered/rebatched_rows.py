"""Rows are kept until there are eight of them, whatever the loader's batches are; the rest comes at the end: 41 = 5 x 8 + 1."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(41, 6), torch.randint(0, 2, (41,))), 5, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)


def step(x, y):
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()


x, y = torch.empty(0, 6), torch.empty(0, dtype=torch.long)
for a, b in loader:
    x, y = torch.cat([x, a]), torch.cat([y, b])
    while len(x) >= 8:
        step(x[:8], y[:8])
        x, y = x[8:], y[8:]
if len(x):
    step(x, y)
