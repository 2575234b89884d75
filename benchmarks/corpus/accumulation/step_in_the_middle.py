"""Accumulation over three batches of an epoch of seven; the first optimizer step comes after the third, the tail is the seventh."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(25, 5), torch.randint(0, 2, (25,))), batch_size=4, shuffle=True)
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for i, (x, y) in enumerate(loader, 1):
        loss = F.cross_entropy(model(x), y) / 3
        loss.backward()
        if i % 3 == 0 or i == len(loader):
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            opt.zero_grad()
