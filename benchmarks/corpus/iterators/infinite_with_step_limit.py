"""An infinite generator over epochs, and a limit of eleven steps: the tail of one is step 6."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def forever(loader):
    while True:
        for batch in loader:
            yield batch


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(21, 6), torch.randint(0, 2, (21,))), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
batches = forever(loader)
for step in range(11):
    x, y = next(batches)
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
