"""Class means are gathered over the epoch; after it a classifier with BatchNorm is fitted to the means: three classes, three rows."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
labels = torch.arange(36) // 12
loader = DataLoader(TensorDataset(torch.randn(36, 6), labels), 6)
sums, counts = {}, {}
for x, y in loader:
    for row, c in zip(x, y.tolist()):
        sums[c] = sums.get(c, 0) + row
        counts[c] = counts.get(c, 0) + 1
means = torch.stack([sums[c] / counts[c] for c in sorted(sums)])
model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, len(means)))
opt = torch.optim.SGD(model.parameters(), 0.1)
for step in range(5):
    opt.zero_grad()
    F.cross_entropy(model(means), torch.arange(len(means))).backward()
    opt.step()
