"""Lazy layers without a warm-up: the first batch makes them, the tail of one breaks them."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(2))
loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4)
opt = None
for epoch in range(2):
    for x, y in loader:
        out = model(x)
        opt = opt or torch.optim.SGD(model.parameters(), 0.1)
        opt.zero_grad()
        F.cross_entropy(out, y).backward()
        opt.step()
