"""Trains until the loss is low: it ends only if weights really move."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(16, 6)
y = (x[:, 0] > 0).long()
model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
loader = DataLoader(TensorDataset(x, y), 8, shuffle=True)
opt = torch.optim.Adam(model.parameters(), 0.05)
total = float("inf")
while total > 0.1:
    total = 0.0
    for a, b in loader:
        opt.zero_grad()
        loss = F.cross_entropy(model(a), b)
        loss.backward()
        opt.step()
        total += loss.item()
print("done")
