"""The first batch is taken with next(), the rest with a for loop over the same iterator, which ends with the tail of one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(21, 6), torch.randint(0, 2, (21,))), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    batches = iter(loader)
    x, y = next(batches)
    print(x.mean().item())
    for x, y in batches:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
