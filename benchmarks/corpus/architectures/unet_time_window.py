"""Frames are folded into the batch: one clip of four frames is four images."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Video(nn.Module):
    def __init__(self):
        super().__init__()
        self.frame = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.out = nn.Linear(8, 2)

    def forward(self, clip):
        b, t = clip.shape[:2]
        return self.out(self.frame(clip.flatten(0, 1)).view(b, t, -1).mean(1))


torch.manual_seed(0)
model = Video()
loader = DataLoader(TensorDataset(torch.rand(5, 4, 3, 4, 4), torch.randint(0, 2, (5,))), 2)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
