"""41 samples, but WeightedRandomSampler draws 40 of them."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

torch.manual_seed(0)
y = (torch.arange(41) % 8 == 0).long()
weights = torch.tensor([1.0, 7.0])[y]
loader = DataLoader(TensorDataset(torch.randn(41, 5), y), batch_size=8, sampler=WeightedRandomSampler(weights, 40))
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
