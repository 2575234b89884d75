"""An overfit-one-batch check on the first batch, then training with drop_last."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
data = TensorDataset(torch.randn(17, 6), torch.randint(0, 2, (17,)))
opt = torch.optim.SGD(model.parameters(), 0.1)
x, y = next(iter(DataLoader(data, 8)))
for step in range(10):
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
for x, y in DataLoader(data, 8, shuffle=True, drop_last=True):
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
