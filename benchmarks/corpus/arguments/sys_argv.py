"""Batch size and drop_last come from sys.argv."""

# arguments: 5 drop
import sys

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
batch_size = int(sys.argv[1]) if len(sys.argv) > 1 else 15
drop = "drop" in sys.argv[2:]
dataset = TensorDataset(torch.randn(16, 3), torch.randn(16, 1))
loader = DataLoader(dataset, batch_size=batch_size, shuffle=True, drop_last=drop)
model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
