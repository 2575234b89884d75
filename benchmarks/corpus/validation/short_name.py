"""The validation loader is called vl, holds one row per batch, and nobody calls eval()."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
tl = DataLoader(TensorDataset(torch.randn(8, 6), torch.randint(0, 2, (8,))), 4)
vl = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 1)
net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(net.parameters(), 0.1)
for e in range(2):
    for x, y in tl:
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()
    with torch.no_grad():
        for x, y in vl:
            net(x)
