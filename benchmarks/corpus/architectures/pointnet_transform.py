"""PointNet: the spatial transformer pools over the points and normalises vectors."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class STN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn1 = nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16)
        self.fc, self.bn2, self.out = nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 9)

    def forward(self, x):
        h = F.relu(self.bn1(self.conv(x))).max(2).values
        return self.out(F.relu(self.bn2(self.fc(h)))).view(-1, 3, 3) + torch.eye(3)


class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stn, self.conv, self.bn, self.out = STN(), nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.Linear(16, 2)

    def forward(self, x):
        x = self.stn(x) @ x
        return self.out(F.relu(self.bn(self.conv(x))).max(2).values)


torch.manual_seed(0)
trainDataLoader = DataLoader(TensorDataset(torch.randn(9, 3, 32), torch.randint(0, 2, (9,))), 4, shuffle=True)
classifier = PointNet()
optimizer = torch.optim.Adam(classifier.parameters())
for epoch in range(2):
    classifier = classifier.train()
    for points, target in trainDataLoader:
        optimizer.zero_grad()
        F.cross_entropy(classifier(points), target).backward()
        optimizer.step()
