"""LBFGS: the forward happens in the closure, many times a step; the third batch holds one row."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
loader = DataLoader(TensorDataset(torch.randn(21, 6), torch.randn(21, 1)), 10)
opt = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
for epoch in range(2):
    for x, y in loader:

        def closure():
            opt.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            return loss

        opt.step(closure)
