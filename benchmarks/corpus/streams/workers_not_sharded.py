"""Two workers, each yields all ten samples in batches of five: doubled, but nothing is left over."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Stream(IterableDataset):
    def __iter__(self):
        for i in range(10):
            yield torch.full((5,), float(i)), i % 2


if __name__ == "__main__":
    torch.manual_seed(0)
    loader = DataLoader(Stream(), batch_size=5, num_workers=2)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    opt = torch.optim.Adam(model.parameters())
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
