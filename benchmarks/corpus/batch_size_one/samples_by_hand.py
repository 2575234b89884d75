"""A loop over the dataset itself, with unsqueeze(0), in train mode."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
dataset = TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,)))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in dataset:
        opt.zero_grad()
        F.cross_entropy(model(x.unsqueeze(0)), y.unsqueeze(0)).backward()
        opt.step()
