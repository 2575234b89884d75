"""numpy.array_split into four batches: 5, 4, 4, 4; then of the rest of five into four: 2, 1, 1, 1."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(22, 6)).astype("float32"), rng.integers(0, 2, 22)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)


def epoch(x, y):
    for xs, ys in zip(np.array_split(x, 4), np.array_split(y, 4)):
        opt.zero_grad()
        F.cross_entropy(model(torch.from_numpy(xs)), torch.from_numpy(ys)).backward()
        opt.step()


for _ in range(2):
    epoch(X[:17], Y[:17])
epoch(X[17:], Y[17:])
