"""Resuming in the middle: skip_first_batches, and an even epoch."""

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

accelerator = Accelerator(cpu=True)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(14, 6), torch.randint(0, 2, (14,))), 4, shuffle=True)
opt = torch.optim.SGD(model.parameters(), 0.1)
model, opt, loader = accelerator.prepare(model, opt, loader)
resumed = accelerator.skip_first_batches(loader, 2)
for epoch in range(2):
    model.train()
    for x, y in resumed if epoch == 0 else loader:
        with accelerator.accumulate(model):
            accelerator.backward(F.cross_entropy(model(x), y))
            opt.step()
            opt.zero_grad()
