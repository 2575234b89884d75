"""Each item holds three crops; the loop flattens them into the batch: a tail of one is three rows."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Crops(Dataset):
    def __len__(self):
        return 9

    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        return torch.randn(3, 6, generator=g), i % 2


torch.manual_seed(0)
loader = DataLoader(Crops(), 4, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for crops, y in loader:
        b, n = crops.shape[:2]
        out = model(crops.flatten(0, 1)).view(b, n, -1).mean(1)
        opt.zero_grad()
        F.cross_entropy(out, y).backward()
        opt.step()
