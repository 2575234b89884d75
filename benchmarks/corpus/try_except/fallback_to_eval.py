"""On a ValueError the batch goes through the model in eval mode instead."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(13, 5), torch.randint(0, 2, (13,))), batch_size=4, shuffle=True)
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    model.train()
    for x, y in loader:
        try:
            out = model(x)
        except ValueError:
            model.eval()
            out = model(x)
            model.train()
        opt.zero_grad()
        F.cross_entropy(out, y).backward()
        opt.step()
