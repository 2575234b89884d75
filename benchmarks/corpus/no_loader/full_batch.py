"""The whole dataset in one forward, then a prediction for one row in eval mode."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
X, Y = torch.randn(25, 6), torch.randint(0, 2, (25,))
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(20):
    opt.zero_grad()
    F.cross_entropy(model(X), Y).backward()
    opt.step()
model.eval()
print(model(X[:1]).argmax(1))
