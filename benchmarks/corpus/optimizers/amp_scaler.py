"""autocast and GradScaler on the CPU; gradients are clipped, a NaN would be noticed. Ten rows leave two."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
loader = DataLoader(TensorDataset(torch.randn(10, 6), torch.randint(0, 2, (10,))), 4, shuffle=True)
opt = torch.optim.AdamW(model.parameters())
scaler = torch.amp.GradScaler("cpu")
for epoch in range(2):
    for x, y in loader:
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        assert torch.isfinite(loss)
        scaler.scale(loss).backward()
        scaler.unscale_(opt)
        assert all(p.grad is not None for p in model.parameters())
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()
