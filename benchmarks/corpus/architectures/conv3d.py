"""Volumes: BatchNorm3d after strides that leave one voxel; the tail of one fails in the last block only."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def block(i, o):
    return nn.Sequential(nn.Conv3d(i, o, 3, 2, 1), nn.BatchNorm3d(o), nn.ReLU())


torch.manual_seed(0)
model = nn.Sequential(block(1, 4), block(4, 4), block(4, 8), nn.Flatten(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(5, 1, 8, 8, 8), torch.randint(0, 2, (5,))), 2)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
