"""An energy model that differentiates inside its forward; BatchNorm sees the forces of one molecule in the last batch."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Potential(nn.Module):
    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x):
        x = x.requires_grad_()
        (force,) = torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)
        return self.norm(-force)


torch.manual_seed(0)
model = Potential()
loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randn(9, 6)), 4)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.mse_loss(model(x), y).backward()
        opt.step()
