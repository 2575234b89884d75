"""Validation every 25 steps, in train mode, on five rows by two; an epoch has twenty steps, the run forty."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
train_loader = DataLoader(TensorDataset(torch.randn(80, 6), torch.randint(0, 2, (80,))), 4, shuffle=True)
val_loader = DataLoader(TensorDataset(torch.randn(5, 6), torch.randint(0, 2, (5,))), 2)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
global_step = 0
for epoch in range(2):
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
        global_step += 1
        if global_step % 25 == 0:
            with torch.no_grad():
                print(global_step, sum(F.cross_entropy(model(a), b).item() for a, b in val_loader))
