"""A first pass counts the samples; 80 % of the count train: 31 of 39, in batches of six."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(39, 6), torch.randint(0, 2, (39,)))
count = sum(len(x) for x, _ in DataLoader(data, 10))
train = Subset(data, range(int(0.8 * count)))
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in DataLoader(train, 6, shuffle=True):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
