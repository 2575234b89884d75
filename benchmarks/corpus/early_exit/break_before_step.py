"""A limit on batches per epoch, checked before the step: limit 3 of 4."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
config = {"epochs": 3, "batches_per_epoch": 3, "batch_size": 4}
loader = DataLoader(TensorDataset(torch.randn(13, 5), torch.randint(0, 2, (13,))), config["batch_size"], shuffle=True)
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(config["epochs"]):
    for i, (x, y) in enumerate(loader):
        if i == config["batches_per_epoch"]:
            break
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
