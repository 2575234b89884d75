"""Progressive resizing: the image grows and the batch shrinks from stage to stage; the last stage is even, as all are."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 8, 3, 2, 1),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.Conv2d(8, 8, 3, 2, 1),
    nn.BatchNorm2d(8),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(8, 2),
)
opt = torch.optim.SGD(model.parameters(), 0.1)
for side, size in ((4, 6), (8, 4), (16, 3)):
    images = torch.rand(12, 3, side, side)
    for x, y in DataLoader(TensorDataset(images, torch.randint(0, 2, (12,))), size, shuffle=True):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
