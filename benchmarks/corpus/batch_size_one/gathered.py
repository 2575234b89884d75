"""Batch size 1, but the loop gathers four samples before it calls the model; the last one is left unused."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), batch_size=1)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    xs, ys = [], []
    for x, y in loader:
        xs.append(x)
        ys.append(y)
        if len(xs) == 4:
            opt.zero_grad()
            F.cross_entropy(model(torch.cat(xs)), torch.cat(ys)).backward()
            opt.step()
            xs, ys = [], []
