"""Half the samples are broken and the loader shuffles: some batch of some epoch has one left."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate


class Broken(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, i):
        if i % 2:
            return None
        return torch.randn(6, generator=torch.Generator().manual_seed(i)), i % 4 // 2


def collate(samples):
    return default_collate([s for s in samples if s is not None] or [(torch.zeros(6), 0)] * 2)


torch.manual_seed(0)
loader = DataLoader(Broken(), batch_size=6, collate_fn=collate, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(8):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
