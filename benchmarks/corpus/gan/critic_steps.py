"""WGAN with five critic steps per generator step, from an iterator that starts anew; the generator's noise is fixed, the critic has LayerNorm."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(17, 6)), 4, shuffle=True)
G = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))
D = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
opt_g, opt_d = torch.optim.RMSprop(G.parameters(), 5e-5), torch.optim.RMSprop(D.parameters(), 5e-5)
batches = iter(loader)
for iteration in range(4):
    for _ in range(5):
        try:
            (real,) = next(batches)
        except StopIteration:
            batches = iter(loader)
            (real,) = next(batches)
        fake = G(torch.randn(8, 3)).detach()
        opt_d.zero_grad()
        (D(fake).mean() - D(real).mean()).backward()
        opt_d.step()
        for p in D.parameters():
            p.data.clamp_(-0.01, 0.01)
    opt_g.zero_grad()
    (-D(G(torch.randn(8, 3))).mean()).backward()
    opt_g.step()
