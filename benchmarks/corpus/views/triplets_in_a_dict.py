"""Triplets in a dictionary; embeddings end in BatchNorm1d, the anchor is the first to fail."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Triplets(Dataset):
    def __len__(self):
        return 9

    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        return {k: torch.randn(6, generator=g) for k in ("anchor", "positive", "negative")}


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.neck = nn.BatchNorm1d(16)

    def forward(self, x):
        return self.neck(self.net(x))


torch.manual_seed(0)
loader = DataLoader(Triplets(), batch_size=2, shuffle=True)
model = Embedder()
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for batch in loader:
        e = {k: model(v) for k, v in batch.items()}
        loss = F.triplet_margin_loss(e["anchor"], e["positive"], e["negative"])
        opt.zero_grad()
        loss.backward()
        opt.step()
