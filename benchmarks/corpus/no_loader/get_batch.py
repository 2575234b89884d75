"""A get_batch() of random rows, always eight of them, as in nanoGPT."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
X, Y = torch.randn(33, 6), torch.randint(0, 2, (33,))


def get_batch(size=8):
    idx = torch.randint(len(X), (size,))
    return X[idx], Y[idx]


model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for step in range(30):
    x, y = get_batch()
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
