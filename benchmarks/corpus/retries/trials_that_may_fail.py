"""A study in which failed trials are noted and do not end the run."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Study:
    def __init__(self):
        self.results = {}

    def optimize(self, objective, values, catch=()):
        for value in values:
            try:
                self.results[value] = objective(value)
            except catch as error:
                self.results[value] = error


def objective(batch_size):
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.randn(24, 6), torch.randint(0, 2, (24,))), batch_size, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in loader:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
    return loss.item()


study = Study()
study.optimize(objective, (4, 23, 8), catch=(Exception,))
print(study.results)
