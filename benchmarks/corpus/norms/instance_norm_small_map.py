"""InstanceNorm2d meets a map of one pixel at any batch size."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
layers = []
for i, o in ((3, 8), (8, 8), (8, 8)):
    layers += [nn.Conv2d(i, o, 3, 2, 1), nn.InstanceNorm2d(o), nn.ReLU()]
model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(16, 3, 8, 8), torch.randint(0, 2, (16,))), 8)
opt = torch.optim.SGD(model.parameters(), 0.1)
for x, y in loader:
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
