"""Features are taken with a forward hook and normalised afterwards."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Tapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.bn, self.out = nn.BatchNorm1d(8), nn.Linear(8, 2)
        self.kept = {}
        self.body[1].register_forward_hook(lambda module, args, out: self.kept.__setitem__("h", out))

    def forward(self, x):
        self.body(x)
        return self.out(self.bn(self.kept["h"]))


torch.manual_seed(0)
model = Tapped()
loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
