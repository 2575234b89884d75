"""MAML: an inner step on two support rows, an outer one on two query rows, by functional_call; no batch of one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.ReLU(), nn.Linear(8, 1))
opt = torch.optim.Adam(model.parameters())
tasks = DataLoader(TensorDataset(torch.randn(5, 4, 6), torch.randn(5, 4, 1)), batch_size=2)
for epoch in range(2):
    for xs, ys in tasks:
        outer = 0
        for x, y in zip(xs, ys):
            params = dict(model.named_parameters())
            inner = F.mse_loss(functional_call(model, params, (x[:2],)), y[:2])
            grads = torch.autograd.grad(inner, list(params.values()), create_graph=True)
            adapted = {k: p - 0.1 * g for (k, p), g in zip(params.items(), grads)}
            outer = outer + F.mse_loss(functional_call(model, adapted, (x[2:],)), y[2:])
        opt.zero_grad()
        outer.backward()
        opt.step()
