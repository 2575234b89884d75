"""Spectral norm in a critic without BatchNorm, and a tail of one."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
sn = nn.utils.spectral_norm
critic = nn.Sequential(sn(nn.Linear(6, 8)), nn.LeakyReLU(0.2), sn(nn.Linear(8, 1)))
loader = DataLoader(TensorDataset(torch.randn(9, 6)), 4)
opt = torch.optim.RMSprop(critic.parameters(), 5e-5)
for epoch in range(2):
    for (x,) in loader:
        opt.zero_grad()
        (critic(torch.randn_like(x)).mean() - critic(x).mean()).backward()
        opt.step()
