"""DistributedSampler with rank and world size given by hand, no process group: rank 1 of 3 gets five of fourteen."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(14, 6), torch.randint(0, 2, (14,)))
sampler = DistributedSampler(data, num_replicas=3, rank=1)
loader = DataLoader(data, 3, sampler=sampler)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    sampler.set_epoch(epoch)
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
