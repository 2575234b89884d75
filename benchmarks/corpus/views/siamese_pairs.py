"""A siamese encoder without BatchNorm on vectors: the convolution's maps hold one pair well."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.rand(13, 1, 8, 8), torch.rand(13, 1, 8, 8), torch.arange(13) % 2), 4)
encoder = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 8)
)
opt = torch.optim.Adam(encoder.parameters())
for epoch in range(2):
    for a, b, same in loader:
        d = F.pairwise_distance(encoder(a), encoder(b))
        loss = (same * d**2 + (1 - same) * F.relu(1 - d) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
