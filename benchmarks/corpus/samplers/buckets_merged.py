"""Buckets whose tail of one joins the batch before it."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset


class MergedTail(Sampler):
    def __init__(self, n, batch_size):
        self.n, self.batch_size = n, batch_size

    def __iter__(self):
        order = torch.randperm(self.n).tolist()
        batches = [order[i : i + self.batch_size] for i in range(0, self.n, self.batch_size)]
        if len(batches[-1]) == 1 and len(batches) > 1:
            batches[-2] += batches.pop()
        return iter(batches)


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(17, 5), torch.randint(0, 2, (17,))), batch_sampler=MergedTail(17, 4))
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
