"""WebDataset's way: the stream makes the batches, batch_size=None; its last batch holds one row."""

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Batched(IterableDataset):
    def __init__(self, n, batch_size):
        self.n, self.batch_size = n, batch_size

    def __iter__(self):
        for start in range(0, self.n, self.batch_size):
            yield torch.randn(min(self.batch_size, self.n - start), 4)


torch.manual_seed(0)
loader = DataLoader(Batched(25, 6), batch_size=None)
model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x in loader:
        opt.zero_grad()
        model(x).pow(2).mean().backward()
        opt.step()
