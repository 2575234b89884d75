"""The loop picks the rows of one domain out of each batch; batch 3 has one of them."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
domain = torch.tensor([0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 1])
loader = DataLoader(TensorDataset(torch.randn(16, 6), torch.randint(0, 2, (16,)), domain), 4)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y, d in loader:
        target = d == 1
        opt.zero_grad()
        F.cross_entropy(model(x[target]), y[target]).backward()
        opt.step()
