"""Sharpness-aware minimisation: two forwards a step, the optimizer divides by the norm of the gradients."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base, rho=0.05, **kwargs):
        super().__init__(params, {"rho": rho, **kwargs})
        self.base = base(self.param_groups, **kwargs)

    @torch.no_grad()
    def first_step(self):
        params = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in params]).norm()
        assert norm > 0
        for p in params:
            e = p.grad * self.param_groups[0]["rho"] / norm
            p.add_(e)
            self.state[p]["e"] = e

    @torch.no_grad()
    def second_step(self):
        for p, state in self.state.items():
            p.sub_(state["e"])
        self.base.step()


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4, shuffle=True)
opt = SAM(model.parameters(), torch.optim.SGD, lr=0.1)
for epoch in range(2):
    for x, y in loader:
        F.cross_entropy(model(x), y).backward()
        opt.first_step()
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.second_step()
        opt.zero_grad()
