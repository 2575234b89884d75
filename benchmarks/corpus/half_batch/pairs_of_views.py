"""Half of a batch is compared with the other half; the tail of two would leave one each, but is joined for the model."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(18, 6)), batch_size=8, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for (x,) in loader:
        a, b = x.chunk(2)
        za, zb = model(torch.cat([a, b])).chunk(2)
        opt.zero_grad()
        F.mse_loss(za, zb).backward()
        opt.step()
