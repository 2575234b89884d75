"""itertools.islice takes ten batches, but there are five, and the fifth holds one sample."""

from itertools import islice

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(33, 6), torch.randint(0, 2, (33,))), batch_size=8, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(3):
    for x, y in islice(loader, 10):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
