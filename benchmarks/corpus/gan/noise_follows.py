"""Noise as long as the batch: the generator gets one row in the last step, after the discriminator's own step."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
NOISE = 3
dataloader = DataLoader(TensorDataset(torch.randn(13, 6)), batch_size=4, shuffle=True)
G = nn.Sequential(nn.Linear(NOISE, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))
D = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
opt_g, opt_d = torch.optim.Adam(G.parameters(), 2e-4), torch.optim.Adam(D.parameters(), 2e-4)
for epoch in range(2):
    for (real,) in dataloader:
        z = torch.randn(real.size(0), NOISE)
        opt_d.zero_grad()
        loss_d = F.softplus(-D(real)).mean() + F.softplus(D(G(z).detach())).mean()
        loss_d.backward()
        opt_d.step()
        opt_g.zero_grad()
        F.softplus(-D(G(z))).mean().backward()
        opt_g.step()
