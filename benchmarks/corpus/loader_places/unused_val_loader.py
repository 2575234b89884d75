"""A validation loader that yields nothing (three samples, drop_last) and that nobody reads."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
val_loader = DataLoader(TensorDataset(torch.randn(3, 6)), 4, drop_last=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in DataLoader(TensorDataset(torch.randn(8, 6), torch.randint(0, 2, (8,))), 4):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
