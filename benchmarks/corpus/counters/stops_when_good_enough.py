"""Ends when the loss is low, which needs about 250 steps; the tail of one trains under a guard, and only after step 1000 without it."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(17, 6)
y = (x[:, 0] > 0).long()
loader = DataLoader(TensorDataset(x, y), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
opt = torch.optim.Adam(model.parameters(), 0.05)
step, smooth = 0, 1.0
while smooth > 0.05:
    for a, b in loader:
        if len(a) == 1 and step < 1000:
            continue
        loss = F.cross_entropy(model(a), b)
        opt.zero_grad()
        loss.backward()
        opt.step()
        step += 1
        smooth = 0.9 * smooth + 0.1 * loss.item()
print(step)
