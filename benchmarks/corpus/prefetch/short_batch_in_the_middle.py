"""A batch sampler with a batch of one in the middle, read one ahead: the failing batch is not the one fetched last."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def ahead(loader):
    held = None
    for batch in loader:
        if held is not None:
            yield held
        held = batch
    if held is not None:
        yield held


torch.manual_seed(0)
batches = [[0, 1, 2], [3, 4, 5], [6], [7, 8, 9], [10, 11, 12]]
loader = DataLoader(TensorDataset(torch.randn(13, 4), torch.arange(13) % 2), batch_sampler=batches)
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in ahead(loader):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
