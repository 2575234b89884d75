"""The body is thawed in epoch 2: only then does its BatchNorm meet the tail of one in train mode."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
body = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU())
head = nn.Linear(16, 2)
model = nn.Sequential(body, head)
loader = DataLoader(TensorDataset(torch.randn(13, 6), torch.randint(0, 2, (13,))), 4, shuffle=True)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(3):
    model.train()
    if epoch == 0:
        body.eval()
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
