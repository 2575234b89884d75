"""Semi-supervised: each epoch a pass over labelled batches, then one over unlabelled ones, which end with one sample."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
labelled = DataLoader(TensorDataset(torch.randn(16, 6), torch.randint(0, 3, (16,))), batch_size=4, shuffle=True)
unlabelled = DataLoader(TensorDataset(torch.randn(25, 6)), batch_size=8, shuffle=True)
model = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for x, y in labelled:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    for (x,) in unlabelled:
        p = model(x).softmax(1)
        opt.zero_grad()
        (-(p * p.clamp_min(1e-6).log()).sum(1).mean()).backward()
        opt.step()
