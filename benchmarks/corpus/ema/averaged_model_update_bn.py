"""SWA: update_bn runs over the training loader in train mode, and meets its tail of one, which training dropped."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(17, 6), torch.randint(0, 2, (17,)))
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
swa = AveragedModel(model)
opt = torch.optim.SGD(model.parameters(), 0.1)
train_loader = DataLoader(data, 4, shuffle=True, drop_last=True)
for epoch in range(3):
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    swa.update_parameters(model)
update_bn(DataLoader(data, 4), swa)
