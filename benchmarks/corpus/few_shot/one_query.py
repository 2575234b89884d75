"""Per class the support set goes through the model by itself; with one shot that is one row."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
WAYS, SHOTS, QUERIES = 3, 1, 3
x = torch.randn(10, 8, 6)
embed = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
opt = torch.optim.Adam(embed.parameters())
for episode in range(6):
    classes = torch.randperm(10)[:WAYS]
    picked = torch.stack([x[c][torch.randperm(8)[: SHOTS + QUERIES]] for c in classes])
    support, query = picked[:, :SHOTS], picked[:, SHOTS:].flatten(0, 1)
    prototypes = torch.stack([embed(s).mean(0) for s in support])
    loss = F.cross_entropy(-torch.cdist(embed(query), prototypes), torch.arange(WAYS).repeat_interleave(QUERIES))
    opt.zero_grad()
    loss.backward()
    opt.step()
