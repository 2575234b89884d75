"""PointNet++'s BatchNorm momentum schedule, set by hand each epoch, and a tail of one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def set_bn_momentum(model, momentum):
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            m.momentum = momentum


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(21, 6), torch.randint(0, 2, (21,))), 10, shuffle=True)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(3):
    set_bn_momentum(model, max(0.01, 0.1 * 0.5**epoch))
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
