"""n // batch_size batches: the last row is never used."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
X, Y = torch.randn(33, 6), torch.randint(0, 2, (33,))
B = 8
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    order = torch.randperm(len(X))
    for i in range(len(X) // B):
        idx = order[i * B : (i + 1) * B]
        opt.zero_grad()
        F.cross_entropy(model(X[idx]), Y[idx]).backward()
        opt.step()
