"""The same head; every batch has at least two proposals."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.back = nn.Linear(6, 8)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        keep = x[:, 0] > 0
        return self.out(self.head(self.back(x)[keep])).mean()


torch.manual_seed(3)
x = torch.randn(64, 6)
x[::3, 0] = x[::3, 0].abs() + 0.1
train_loader = DataLoader(TensorDataset(x), batch_size=8)
model = Net()
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for (a,) in train_loader:
        opt.zero_grad()
        model(a).backward()
        opt.step()
