"""nonzero() picks anchors of positive score; scores move with the weights, but one anchor per image is always forced."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.score = nn.Conv2d(1, 1, 3, padding=1)
        self.head = nn.Sequential(nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x):
        score = self.score(x)
        picked = score > 1.5
        picked[:, :, 2, 2:4] = True
        b, _, i, j = picked.nonzero(as_tuple=True)
        patches = torch.nn.functional.unfold(x, 3, padding=1).view(len(x), 9, 6, 6)
        return self.head(patches[b, :, i, j])


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(9, 1, 6, 6)), 4)
model = Detector()
opt = torch.optim.SGD(model.parameters(), 0.01)
for epoch in range(2):
    for (x,) in loader:
        opt.zero_grad()
        model(x).pow(2).mean().backward()
        opt.step()
