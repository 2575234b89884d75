"""All batches, the tail of one too, are joined and go through the model at once."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(25, 6), torch.randint(0, 2, (25,))), 8, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(3):
    x, y = map(torch.cat, zip(*loader))
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
