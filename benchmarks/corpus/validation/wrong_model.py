"""eval() is called on the backbone alone; the head's BatchNorm stays in train mode and meets one row."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
head = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
train_loader = DataLoader(TensorDataset(torch.randn(16, 6), torch.randint(0, 2, (16,))), 4, shuffle=True)
val_loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4)
opt = torch.optim.SGD([*backbone.parameters(), *head.parameters()], 0.1)
for epoch in range(2):
    backbone.train()
    head.train()
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(head(backbone(x)), y).backward()
        opt.step()
    backbone.eval()
    with torch.no_grad():
        for x, y in val_loader:
            head(backbone(x))
