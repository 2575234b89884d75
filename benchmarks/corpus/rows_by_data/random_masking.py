"""Each row is kept with probability one half, by torch.rand; some step of twenty keeps one of four."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(40, 6), torch.randint(0, 2, (40,))), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        keep = torch.rand(len(x)) < 0.5
        if not keep.any():
            continue
        opt.zero_grad()
        F.cross_entropy(model(x[keep]), y[keep]).backward()
        opt.step()
