"""The closure form of the same, on two full batches."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SAM(torch.optim.SGD):
    rho = 0.05

    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        params = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in params]).norm()
        moves = [p.grad * self.rho / norm for p in params]
        with torch.no_grad():
            for p, e in zip(params, moves):
                p.add_(e)
        self.zero_grad()
        with torch.enable_grad():
            closure()
        with torch.no_grad():
            for p, e in zip(params, moves):
                p.sub_(e)
        super().step()
        return loss


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(8, 6), torch.randint(0, 2, (8,))), 4, shuffle=True)
opt = SAM(model.parameters(), lr=0.1)
for epoch in range(2):
    for x, y in loader:

        def closure():
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        opt.zero_grad()
        opt.step(closure)
