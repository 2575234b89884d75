"""Parameters are handed over with torch.func.functional_call; a tail of one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
params = {k: v.detach().clone().requires_grad_() for k, v in model.named_parameters()}
loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4)
for epoch in range(2):
    for x, y in loader:
        loss = F.cross_entropy(functional_call(model, params, (x,)), y)
        grads = torch.autograd.grad(loss, list(params.values()))
        params = {k: (p - 0.1 * g).detach().requires_grad_() for (k, p), g in zip(params.items(), grads)}
