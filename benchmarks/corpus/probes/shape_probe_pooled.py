"""The same probe, and the convolutions end with a BatchNorm behind a global pooling: the constructor itself stops."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.back = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8))
        with torch.no_grad():
            n = self.back(torch.zeros(1, 3, 16, 16)).flatten(1).shape[1]
        self.fc = nn.Linear(n, 2)

    def forward(self, x):
        return self.fc(self.back(x).flatten(1))


torch.manual_seed(0)
model = Net()
opt = torch.optim.SGD(model.parameters(), 0.1)
for x, y in DataLoader(TensorDataset(torch.randn(8, 3, 16, 16), torch.randint(0, 2, (8,))), 4):
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
