"""Sequences of different length are joined: the tail of one sample brings three rows, and nothing stops."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Pieces(Dataset):
    def __len__(self):
        return 9

    def __getitem__(self, i):
        return torch.randn(3 if i == 8 else 1 + i % 3, 6)


def join(samples):
    return torch.cat(samples), torch.tensor([len(s) for s in samples])


torch.manual_seed(0)
loader = DataLoader(Pieces(), batch_size=4, collate_fn=join)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, lengths in loader:
        opt.zero_grad()
        model(x).pow(2).mean().backward()
        opt.step()
