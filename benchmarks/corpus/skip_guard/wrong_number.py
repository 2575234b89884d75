"""The guard compares with the batch size of another loader: batches below three are skipped in validation, not in training."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
train = DataLoader(TensorDataset(torch.randn(13, 6), torch.randint(0, 2, (13,))), 4, shuffle=True)
val = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)


def epoch(loader, minimum):
    for x, y in loader:
        if len(x) < minimum:
            continue
        loss = F.cross_entropy(model(x), y)
        if loader is train:
            opt.zero_grad()
            loss.backward()
            opt.step()


for _ in range(2):
    epoch(train, 1)
    epoch(val, 3)
