"""Features come from a frozen network in eval mode, once for each batch; the trained head has BatchNorm, and drop_last."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
extractor = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
images, labels = torch.rand(13, 3, 12, 12), torch.randint(0, 2, (13,))
with torch.no_grad():
    features = torch.cat([extractor(x) for (x,) in DataLoader(TensorDataset(images), 4)])
head = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 2))
opt = torch.optim.SGD(head.parameters(), 0.1)
for epoch in range(3):
    for f, y in DataLoader(TensorDataset(features, labels), 4, shuffle=True, drop_last=True):
        opt.zero_grad()
        F.cross_entropy(head(f), y).backward()
        opt.step()
