"""The step stands in try/except ValueError: the tail of one is logged and lost."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(13, 5), torch.randint(0, 2, (13,))), batch_size=4, shuffle=True)
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for step, (x, y) in enumerate(loader):
        try:
            loss = F.cross_entropy(model(x), y)
        except ValueError as error:
            print("skipped", step, error)
            continue
        opt.zero_grad()
        loss.backward()
        opt.step()
