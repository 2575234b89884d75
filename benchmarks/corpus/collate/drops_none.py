"""The dataset returns None for broken samples, the collate function leaves them out: one of four is left in batch 2."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate


class Broken(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        if i in (4, 5, 7):
            return None
        g = torch.Generator().manual_seed(i)
        return torch.randn(6, generator=g), i % 2


def collate(samples):
    return default_collate([s for s in samples if s is not None])


torch.manual_seed(0)
loader = DataLoader(Broken(), batch_size=4, collate_fn=collate)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
