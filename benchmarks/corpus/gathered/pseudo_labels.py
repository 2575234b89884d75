"""Predictions for an unlabelled loader, in eval mode, become the next stage's data set: 25 rows, by six."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
labelled = DataLoader(TensorDataset(torch.randn(16, 6), torch.randint(0, 2, (16,))), 4, shuffle=True)
unlabelled = DataLoader(TensorDataset(torch.randn(25, 6)), 10)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)


def fit(loader):
    model.train()
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()


@torch.no_grad()
def label(loader):
    model.eval()
    pairs = [(row, int(k)) for (x,) in loader for row, k in zip(x, model(x).argmax(1))]
    return TensorDataset(torch.stack([r for r, _ in pairs]), torch.tensor([k for _, k in pairs]))


fit(labelled)
fit(DataLoader(label(unlabelled), 6, shuffle=True))
