"""Prototypical episodes: 5 ways, 1 shot, 3 queries; support and query are embedded apart, each has five rows or more."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
WAYS, SHOTS, QUERIES = 5, 1, 3
x = torch.randn(10, 8, 6)
embed = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
opt = torch.optim.Adam(embed.parameters())
for episode in range(6):
    classes = torch.randperm(10)[:WAYS]
    picked = torch.stack([x[c][torch.randperm(8)[: SHOTS + QUERIES]] for c in classes])
    support, query = picked[:, :SHOTS].flatten(0, 1), picked[:, SHOTS:].flatten(0, 1)
    prototypes = embed(support).view(WAYS, SHOTS, -1).mean(1)
    distance = torch.cdist(embed(query), prototypes)
    loss = F.cross_entropy(-distance, torch.arange(WAYS).repeat_interleave(QUERIES))
    opt.zero_grad()
    loss.backward()
    opt.step()
