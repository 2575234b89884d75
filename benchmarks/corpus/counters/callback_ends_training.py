"""A callback raises StopTraining after five batches; the trainer catches it."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class StopTraining(Exception):
    pass


class StopAfter:
    def __init__(self, batches):
        self.left = batches

    def on_batch_end(self):
        self.left -= 1
        if self.left == 0:
            raise StopTraining


class Trainer:
    def __init__(self, model, callbacks):
        self.model, self.callbacks = model, callbacks
        self.opt = torch.optim.SGD(model.parameters(), 0.1)

    def fit(self, loader, epochs):
        try:
            for _ in range(epochs):
                for x, y in loader:
                    self.opt.zero_grad()
                    F.cross_entropy(self.model(x), y).backward()
                    self.opt.step()
                    for callback in self.callbacks:
                        callback.on_batch_end()
        except StopTraining:
            print("stopped")


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
Trainer(model, [StopAfter(5)]).fit(DataLoader(TensorDataset(torch.randn(33, 6), torch.randint(0, 2, (33,))), 4), 3)
