"""An endless stream; the loop ends after ten steps."""

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            x = torch.randn(4)
            yield x, x.sum()


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
opt = torch.optim.SGD(model.parameters(), 0.1)
for step, (x, y) in enumerate(DataLoader(Endless(), batch_size=8)):
    opt.zero_grad()
    (model(x).squeeze(1) - y).pow(2).mean().backward()
    opt.step()
    if step == 9:
        break
