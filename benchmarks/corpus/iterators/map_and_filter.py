"""filter() keeps batches of more than one row, map() converts them."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randint(0, 9, (21, 6)), torch.randint(0, 2, (21,))), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in map(lambda b: (b[0].float(), b[1]), filter(lambda b: len(b[0]) > 1, loader)):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
