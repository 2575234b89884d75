"""A step in twenty, by a seeded draw, validates in train mode on rows of one."""

import random
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

random.seed(3)
torch.manual_seed(0)
train_loader = DataLoader(TensorDataset(torch.randn(80, 6), torch.randint(0, 2, (80,))), 4, shuffle=True)
val_loader = DataLoader(TensorDataset(torch.randn(3, 6), torch.randint(0, 2, (3,))), 1)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
        if random.random() < 0.05:
            with torch.no_grad():
                print(sum(F.cross_entropy(model(a), b).item() for a, b in val_loader))
