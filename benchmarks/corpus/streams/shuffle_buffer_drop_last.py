"""A shuffle buffer before the batches, and drop_last."""

import random
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Shuffled(IterableDataset):
    def __init__(self, source, size):
        self.source, self.size = source, size

    def __iter__(self):
        buffer = []
        for item in self.source:
            if len(buffer) < self.size:
                buffer.append(item)
                continue
            i = random.randrange(self.size)
            yield buffer[i]
            buffer[i] = item
        random.shuffle(buffer)
        yield from buffer


random.seed(0)
torch.manual_seed(0)
source = [(torch.randn(4), torch.randn(())) for _ in range(21)]
model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
opt = torch.optim.SGD(model.parameters(), 0.1)
loader = DataLoader(Shuffled(source, 6), batch_size=4, drop_last=True)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        (model(x).squeeze(1) - y).pow(2).mean().backward()
        opt.step()
