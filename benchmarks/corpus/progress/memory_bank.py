"""A memory bank is filled by batch index, and the second stage reads a row of every batch from it; the bank must be full."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
X = torch.randn(30, 6)
loader = DataLoader(TensorDataset(X, torch.arange(30)), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
opt = torch.optim.SGD(model.parameters(), 0.1)
bank = {}
for x, index in loader:
    out = model(x)
    for i, row in zip(index.tolist(), out.detach()):
        bank[i] = row
    opt.zero_grad()
    out.pow(2).mean().backward()
    opt.step()
goals = torch.stack([bank[i] for i in range(30)])
for x, index in loader:
    opt.zero_grad()
    F.mse_loss(model(x), goals[index]).backward()
    opt.step()
