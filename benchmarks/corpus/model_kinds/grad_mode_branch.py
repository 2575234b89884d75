"""An auxiliary head that works only where gradients are recorded."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(6, 8), nn.Linear(8, 2)
        self.auxiliary = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))

    def forward(self, x):
        h = self.fc(x).relu()
        out = self.out(h)
        return out + 0.1 * self.auxiliary(h) if torch.is_grad_enabled() else out


torch.manual_seed(0)
model = Net()
train = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in train:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
