"""Pseudo labels: confident predictions of stage 1 (in eval mode, on all rows) become the data set of stage 2, cut to nine."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
labelled = TensorDataset(torch.randn(12, 6), torch.randint(0, 2, (12,)))
unlabelled = torch.randn(40, 6)


def fit(dataset):
    model.train()
    for x, y in DataLoader(dataset, 4, shuffle=True):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()


fit(labelled)
model.eval()
with torch.no_grad():
    confidence, label = model(unlabelled).softmax(1).max(1)
keep = confidence.argsort(descending=True)[:9]
fit(TensorDataset(unlabelled[keep], label[keep]))
