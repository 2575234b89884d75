"""The same with thirty epochs: the body is never thawed."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4, shuffle=True)
body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
head = nn.Linear(8, 2)
opt = torch.optim.SGD([*body.parameters(), *head.parameters()], 0.1)
for epoch in range(30):
    body.train(epoch >= 40)
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(head(body(x)), y).backward()
        opt.step()
