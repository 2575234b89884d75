"""int(0.29 * 100) is 28, not 29: seven batches of four."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(0)
data = TensorDataset(torch.randn(100, 6), torch.randint(0, 2, (100,)))
n_train = int(0.29 * 100)
train_set, rest = random_split(data, [n_train, 100 - n_train])
train_loader = DataLoader(train_set, 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
