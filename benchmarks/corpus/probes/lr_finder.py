"""A learning-rate range test on a copy of the weights, which reads five batches from a cycling loader; the fifth is the tail of one."""

import copy
import itertools
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def cycling(loader):
    while True:
        yield from loader


def range_test(model, loader, steps):
    state = copy.deepcopy(model.state_dict())
    opt = torch.optim.SGD(model.parameters(), 1e-4)
    for x, y in itertools.islice(cycling(loader), steps):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
        opt.param_groups[0]["lr"] *= 2
    model.load_state_dict(state)


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
data = TensorDataset(torch.randn(17, 6), torch.randint(0, 2, (17,)))
range_test(model, DataLoader(data, 4, shuffle=True), 5)
