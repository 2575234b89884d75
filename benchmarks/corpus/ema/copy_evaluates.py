"""An EMA copy without buffers is evaluated in eval mode on single rows; the training is even."""

import copy
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
ema = copy.deepcopy(model).eval().requires_grad_(False)
train = DataLoader(TensorDataset(torch.randn(16, 6), torch.randint(0, 2, (16,))), 4, shuffle=True)
test = DataLoader(TensorDataset(torch.randn(5, 6)), 1)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(3):
    model.train()
    for x, y in train:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
        with torch.no_grad():
            for p, q in zip(ema.parameters(), model.parameters()):
                p.lerp_(q, 0.1)
    for (x,) in test:
        ema(x)
