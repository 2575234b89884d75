"""requires_grad=False on everything but the head: BatchNorm still uses the batch's statistics."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
body = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU())
model = nn.Sequential(body, nn.Linear(16, 2))
for p in body.parameters():
    p.requires_grad = False
loader = DataLoader(TensorDataset(torch.randn(13, 6), torch.randint(0, 2, (13,))), 4, shuffle=True)
opt = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
for epoch in range(2):
    model.train()
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
