"""Reentrant checkpointing on images; the maps are large enough for one image."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.block = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(checkpoint(self.block, self.stem(x), use_reentrant=True).mean((2, 3)))


torch.manual_seed(0)
model = Net()
loader = DataLoader(TensorDataset(torch.randn(9, 3, 8, 8), torch.randint(0, 2, (9,))), 4)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
