"""A wrapper around an optimizer that is no Optimizer itself, as in many Lookahead and Noam implementations."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Noam:
    def __init__(self, optimizer, size, warmup):
        self.optimizer, self.size, self.warmup, self.n = optimizer, size, warmup, 0

    def zero_grad(self):
        self.optimizer.zero_grad()

    def step(self):
        self.n += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.size**-0.5 * min(self.n**-0.5, self.n * self.warmup**-1.5)
        self.optimizer.step()


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(22, 6), torch.randint(0, 2, (22,))), 7, shuffle=True)
opt = Noam(torch.optim.Adam(model.parameters(), lr=0), 8, 10)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
