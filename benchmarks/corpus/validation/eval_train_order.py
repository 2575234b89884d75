"""eval() and train() are swapped: training runs in eval mode with its tail of one, validation in train mode with full batches."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
train_loader = DataLoader(TensorDataset(torch.randn(17, 6), torch.randint(0, 2, (17,))), 4, shuffle=True)
val_loader = DataLoader(TensorDataset(torch.randn(8, 6), torch.randint(0, 2, (8,))), 4)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    model.eval()
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    model.train()
    with torch.no_grad():
        for x, y in val_loader:
            model(x)
