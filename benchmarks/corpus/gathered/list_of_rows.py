"""All rows are put into a Python list, shuffled, and taken in slices of five: 21 rows."""

import random
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

random.seed(0)
torch.manual_seed(0)
rows = []
for x, y in DataLoader(TensorDataset(torch.randn(21, 6), torch.randint(0, 2, (21,))), 9):
    rows.extend(zip(x, y))
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    random.shuffle(rows)
    for i in range(0, len(rows), 5):
        x, y = map(torch.stack, zip(*rows[i : i + 5]))
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
