"""Only the first half of each batch trains: three left over, one of them is used."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(27, 6), torch.randint(0, 2, (27,))), batch_size=8)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        half = len(x) // 2
        opt.zero_grad()
        F.cross_entropy(model(x[:half]), y[:half]).backward()
        opt.step()
