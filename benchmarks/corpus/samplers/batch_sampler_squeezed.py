"""BatchSampler as sampler= with the default batch size: a leading axis of one, which the loop takes away."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler


class Rows(Dataset):
    def __init__(self, n):
        self.x, self.y = torch.randn(n, 5), torch.randint(0, 2, (n,))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, indices):
        return self.x[indices], self.y[indices]


torch.manual_seed(0)
data = Rows(22)
loader = DataLoader(data, sampler=BatchSampler(RandomSampler(data), batch_size=5, drop_last=False))
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for x, y in loader:
        assert x.size(0) == 1
        opt.zero_grad()
        F.cross_entropy(model(x[0]), y[0]).backward()
        opt.step()
