"""ConcatDataset of nine and eight samples, of which a Subset takes every second: nine, in batches of eight."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset


def samples(n):
    return TensorDataset(torch.randn(n, 6), torch.randint(0, 2, (n,)))


torch.manual_seed(0)
both = ConcatDataset([samples(9), samples(8)])
loader = DataLoader(Subset(both, range(0, len(both), 2)), 8)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
