"""SimCLR: two views of each batch are joined before the encoder; a tail of one is two rows."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class TwoViews(Dataset):
    def __init__(self, n):
        self.x = torch.randn(n, 6)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i] + 0.1 * torch.randn(6), self.x[i] + 0.1 * torch.randn(6)


torch.manual_seed(0)
loader = DataLoader(TwoViews(13), 4, shuffle=True)
encoder = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
opt = torch.optim.Adam(encoder.parameters())
for epoch in range(2):
    for a, b in loader:
        z = F.normalize(encoder(torch.cat([a, b])), dim=1)
        n = len(a)
        similarity = (z @ z.T / 0.5).masked_fill(torch.eye(2 * n, dtype=torch.bool), -1e9)
        loss = F.cross_entropy(similarity, torch.arange(2 * n).roll(n))
        opt.zero_grad()
        loss.backward()
        opt.step()
