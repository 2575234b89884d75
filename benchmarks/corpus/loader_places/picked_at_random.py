"""Each step picks one of three loaders at random, by a seed; only two of them end with one row, and no iterator is read so far."""

import random
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

random.seed(0)
torch.manual_seed(0)
loaders = [DataLoader(TensorDataset(torch.randn(n, 6), torch.randint(0, 2, (n,))), 4) for n in (33, 32, 41)]
iterators = [iter(loader) for loader in loaders]
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for step in range(12):
    x, y = next(random.choice(iterators))
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
