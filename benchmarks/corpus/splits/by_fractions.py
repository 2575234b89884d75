"""random_split with fractions: 0.57, 0.43 of 100 gives 57 and 43 samples, in batches of eight."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(0)
data = TensorDataset(torch.randn(100, 6), torch.randint(0, 2, (100,)))
train_set, val_set = random_split(data, [0.57, 0.43])
train_loader = DataLoader(train_set, 8, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
