"""The model stays in eval mode for the first twelve steps; the epoch's tail of one is step 9, and then step 18."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(33, 6), torch.randint(0, 2, (33,))), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()
opt = torch.optim.SGD(model.parameters(), 0.1)
steps = 0
for epoch in range(2):
    for x, y in loader:
        steps += 1
        if steps == 13:
            model.train()
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
