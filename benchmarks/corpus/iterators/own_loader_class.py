"""A loader class that is not torch's: it shuffles and slices, and its last batch holds one row."""

import torch
import torch.nn.functional as F
from torch import nn


class FastTensorDataLoader:
    def __init__(self, *tensors, batch_size, shuffle=False):
        self.tensors, self.batch_size, self.shuffle = tensors, batch_size, shuffle

    def __len__(self):
        return -(-len(self.tensors[0]) // self.batch_size)

    def __iter__(self):
        n = len(self.tensors[0])
        order = torch.randperm(n) if self.shuffle else torch.arange(n)
        for i in range(0, n, self.batch_size):
            yield tuple(t[order[i : i + self.batch_size]] for t in self.tensors)


torch.manual_seed(0)
loader = FastTensorDataLoader(torch.randn(21, 6), torch.randint(0, 2, (21,)), batch_size=4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
