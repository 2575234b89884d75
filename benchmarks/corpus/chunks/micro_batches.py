"""torch.split of a batch into micro-batches of four: 8 gives 4 + 4, the tail of 5 gives 4 + 1."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(21, 5), torch.randint(0, 2, (21,))), batch_size=8, shuffle=True)
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        for xs, ys in zip(torch.split(x, 4), torch.split(y, 4)):
            (F.cross_entropy(model(xs), ys) * len(xs) / len(x)).backward()
        opt.step()
