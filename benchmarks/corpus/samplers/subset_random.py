"""SubsetRandomSampler over train and validation indices of one dataset: 21 and 8."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(29, 5), torch.randint(0, 2, (29,)))
indices = torch.randperm(29).tolist()
train_loader = DataLoader(data, batch_size=7, sampler=SubsetRandomSampler(indices[:21]))
valid_loader = DataLoader(data, batch_size=7, sampler=SubsetRandomSampler(indices[21:]))
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    model.train()
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    model.eval()
    for x, y in valid_loader:
        with torch.no_grad():
            model(x)
