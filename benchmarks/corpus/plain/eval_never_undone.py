"""train() is called once, before the first epoch; after validation the model stays in eval mode, with a tail of one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
train = DataLoader(
    TensorDataset(torch.randn(12, 4), torch.randn(12, 1)), batch_sampler=[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
)
extra = DataLoader(TensorDataset(torch.randn(5, 4), torch.randn(5, 1)), batch_size=2)
net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
opt = torch.optim.Adam(net.parameters())
net.train()
for epoch in range(3):
    for x, y in train:
        opt.zero_grad()
        F.mse_loss(net(x), y).backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print(sum(F.mse_loss(net(x), y).item() for x, y in extra))
    for x, y in extra:
        opt.zero_grad()
        F.mse_loss(net(x), y).backward()
        opt.step()
