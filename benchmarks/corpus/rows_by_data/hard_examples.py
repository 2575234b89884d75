"""Online hard example mining: the half with the highest loss goes through a second head with BatchNorm; of three rows that is one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(11, 6), torch.randint(0, 2, (11,))), 4, shuffle=True)
main = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
expert = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD([*main.parameters(), *expert.parameters()], 0.1)
for epoch in range(2):
    for x, y in loader:
        losses = F.cross_entropy(main(x), y, reduction="none")
        hard = losses.topk(len(x) // 2).indices
        opt.zero_grad()
        (losses.mean() + F.cross_entropy(expert(x[hard]), y[hard])).backward()
        opt.step()
