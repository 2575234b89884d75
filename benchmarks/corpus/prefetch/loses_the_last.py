"""A faulty prefetcher: it stops when there is no batch to load ahead and never hands out the last one, the tail of one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Prefetcher:
    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        iterator = iter(self.loader)
        ahead = next(iterator)
        while True:
            current = ahead
            try:
                ahead = next(iterator)
            except StopIteration:
                return
            yield current


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(17, 4), torch.arange(17) % 2), batch_size=8, shuffle=True)
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in Prefetcher(loader):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
