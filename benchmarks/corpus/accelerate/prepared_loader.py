"""Accelerate's prepared loader reads one batch ahead; a tail of one."""

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

accelerator = Accelerator(cpu=True)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(13, 6), torch.randint(0, 2, (13,))), 4, shuffle=True)
opt = torch.optim.SGD(model.parameters(), 0.1)
model, opt, loader = accelerator.prepare(model, opt, loader)
for epoch in range(2):
    model.train()
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        accelerator.backward(loss)
        opt.step()
        opt.zero_grad()
