"""A VAE that keeps self.kl for the loss; drop_last keeps it alive."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
        self.decode = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))

    def forward(self, x):
        mean, log_var = self.encode(x).chunk(2, 1)
        self.kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1).mean()
        return self.decode(mean + torch.randn_like(mean) * (0.5 * log_var).exp())


torch.manual_seed(0)
model = VAE()
loader = DataLoader(TensorDataset(torch.randn(9, 6)), 4, drop_last=True)
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for (x,) in loader:
        opt.zero_grad()
        (F.mse_loss(model(x), x) + model.kl).backward()
        opt.step()
