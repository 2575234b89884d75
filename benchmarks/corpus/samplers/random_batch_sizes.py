"""A batch sampler that draws the batch size anew each time, between one and six."""

import random
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset


class Ragged(Sampler):
    def __init__(self, n):
        self.n, self.random = n, random.Random(4)

    def __iter__(self):
        order = torch.randperm(self.n).tolist()
        while order:
            k = self.random.randint(1, 6)
            yield order[:k]
            order = order[k:]


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(60, 5), torch.randint(0, 2, (60,))), batch_sampler=Ragged(60))
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
