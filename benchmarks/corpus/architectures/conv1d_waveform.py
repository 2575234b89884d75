"""Waveforms: BatchNorm1d over (batch, channels, time), and pooling only after the last one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv1d(1, 4, 9, 4),
    nn.BatchNorm1d(4),
    nn.ReLU(),
    nn.Conv1d(4, 8, 5, 4),
    nn.BatchNorm1d(8),
    nn.ReLU(),
    nn.AdaptiveAvgPool1d(1),
    nn.Flatten(),
    nn.Linear(8, 2),
)
loader = DataLoader(TensorDataset(torch.randn(5, 1, 200), torch.randint(0, 2, (5,))), 2)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
