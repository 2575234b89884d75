"""Batch size 1 on images: it runs, silently, and the running statistics suffer."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 2)
)
train_loader = DataLoader(
    TensorDataset(torch.randn(20, 1, 8, 8), torch.randint(0, 2, (20,))), batch_size=1, shuffle=True
)
opt = torch.optim.SGD(model.parameters(), 0.01)
for epoch in range(2):
    model.train()
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
