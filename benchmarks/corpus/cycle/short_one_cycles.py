"""itertools.cycle over a small loader beside a long one; the small one's tail of one comes in step 2."""

from itertools import cycle

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
clean = DataLoader(TensorDataset(torch.randn(5, 6), torch.randint(0, 2, (5,))), batch_size=4)
noisy = DataLoader(TensorDataset(torch.randn(32, 6), torch.randint(0, 2, (32,))), batch_size=8, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for (x, y), (xc, yc) in zip(noisy, cycle(clean)):
        loss = F.cross_entropy(model(x), y) + F.cross_entropy(model(xc), yc)
        opt.zero_grad()
        loss.backward()
        opt.step()
