"""A debug flag leaves the process in the middle of the first epoch with sys.exit(0)."""

import sys
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
DEBUG = True
loader = DataLoader(TensorDataset(torch.randn(13, 5), torch.randint(0, 2, (13,))), batch_size=4, shuffle=True)
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for i, (x, y) in enumerate(loader):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
        if DEBUG and i == 1:
            print("one batch is enough")
            sys.exit(0)
