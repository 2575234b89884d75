"""The sampler grows by four each epoch, as the batches do."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset


class Curriculum(Sampler):
    def __init__(self, n):
        self.n, self.epoch = n, 0

    def __len__(self):
        return self.n + 4 * self.epoch

    def __iter__(self):
        order = torch.randperm(self.n + 4 * self.epoch).tolist()
        self.epoch += 1
        return iter(order)


torch.manual_seed(0)
data = TensorDataset(torch.randn(20, 5), torch.randint(0, 2, (20,)))
loader = DataLoader(data, batch_size=4, sampler=Curriculum(10))
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(3):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
