"""Features and labels of 33 samples are gathered from batches of seven (the last of five), then used by eight: a tail of one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
images = DataLoader(TensorDataset(torch.rand(33, 3, 6, 6), torch.randint(0, 2, (33,))), 7)
extractor = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
features, labels = [], []
with torch.no_grad():
    for x, y in images:
        features.append(extractor(x))
        labels.append(y)
dataset = TensorDataset(torch.cat(features), torch.cat(labels))
probe = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 2))
opt = torch.optim.SGD(probe.parameters(), 0.1)
for epoch in range(3):
    for f, y in DataLoader(dataset, 8, shuffle=True):
        opt.zero_grad()
        F.cross_entropy(probe(f), y).backward()
        opt.step()
