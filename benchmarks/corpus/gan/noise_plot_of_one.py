"""Even training; after each epoch one image is generated for a plot, in train mode."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(8, 6)), 4, shuffle=True)
G = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))
D = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
opt_g, opt_d = torch.optim.Adam(G.parameters(), 2e-4), torch.optim.Adam(D.parameters(), 2e-4)
for epoch in range(2):
    for (real,) in loader:
        fake = G(torch.randn(len(real), 3))
        opt_d.zero_grad()
        (F.softplus(-D(real)).mean() + F.softplus(D(fake.detach())).mean()).backward()
        opt_d.step()
        opt_g.zero_grad()
        F.softplus(-D(fake)).mean().backward()
        opt_g.step()
    with torch.no_grad():
        picture = G(torch.randn(1, 3))
