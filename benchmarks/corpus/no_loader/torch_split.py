"""torch.split of the whole tensor by eight."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
X, Y = torch.randn(25, 6), torch.randint(0, 2, (25,))
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in zip(X.split(8), Y.split(8)):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
