"""The BatchNorm layers are set to eval once before training; model.train() at the start of the epoch wakes them again."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.body(x))


torch.manual_seed(0)
model = Net()
for m in model.modules():
    if isinstance(m, nn.BatchNorm1d):
        m.eval()
loader = DataLoader(TensorDataset(torch.randn(13, 6), torch.randint(0, 2, (13,))), 4, shuffle=True)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    model.train()
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
