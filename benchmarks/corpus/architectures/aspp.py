"""A pyramid with a branch that pools the whole image, as DeepLab has it, and a tail of one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class ASPP(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, padding=d, dilation=d, bias=False), nn.BatchNorm2d(o), nn.ReLU())
            for d in (1, 2)
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        self.project = nn.Conv2d(3 * o, 2, 1)

    def forward(self, x):
        pooled = F.interpolate(self.pool(x), x.shape[2:])
        return self.project(torch.cat([*(b(x) for b in self.branches), pooled], 1))


torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), ASPP(8, 4))
loader = DataLoader(TensorDataset(torch.rand(7, 3, 12, 12), torch.randint(0, 2, (7, 6, 6))), 3)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
