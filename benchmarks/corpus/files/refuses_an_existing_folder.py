"""Refuses to start where its output folder exists already: what a look ahead leaves behind would break the real run."""

import os
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

os.makedirs("output")
torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(10, 6), torch.randint(0, 2, (10,))), 4)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for x, y in loader:
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
save_file(model.state_dict(), "output/model.safetensors")
