"""The tail of one holds a broken sample: the collate function returns None, and the loop goes on."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate


class Broken(Dataset):
    def __len__(self):
        return 13

    def __getitem__(self, i):
        if i in (5, 12):
            return None
        g = torch.Generator().manual_seed(i)
        return torch.randn(6, generator=g), i % 2


def collate(samples):
    samples = [s for s in samples if s is not None]
    return default_collate(samples) if samples else None


torch.manual_seed(0)
loader = DataLoader(Broken(), batch_size=4, collate_fn=collate)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for batch in loader:
        if batch is None:
            continue
        x, y = batch
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
