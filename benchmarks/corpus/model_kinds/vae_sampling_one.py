"""After training, one sample is drawn from the decoder in train mode."""

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
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        return self.decode(z), 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1).mean()

    def sample(self, n):
        return self.decode(torch.randn(n, 2))


torch.manual_seed(0)
model = VAE()
loader = DataLoader(TensorDataset(torch.randn(8, 6)), 4)
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for (x,) in loader:
        out, kl = model(x)
        opt.zero_grad()
        (F.mse_loss(out, x) + kl).backward()
        opt.step()
print(model.sample(1))
