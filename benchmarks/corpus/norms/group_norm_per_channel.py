"""GroupNorm with one channel a group behind a global pooling: with one image left it raises."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(8, 8), nn.Flatten(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(17, 3, 8, 8), torch.randint(0, 2, (17,))), 8)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
