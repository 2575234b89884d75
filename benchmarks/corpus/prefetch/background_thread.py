"""A thread fills a queue of two batches; the tail of one is the fifth."""

import queue
import threading
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class BackgroundLoader(threading.Thread):
    def __init__(self, loader, size=2):
        super().__init__(daemon=True)
        self.queue = queue.Queue(size)
        self.loader = loader
        self.start()

    def run(self):
        for batch in self.loader:
            self.queue.put(batch)
        self.queue.put(None)

    def __iter__(self):
        while (batch := self.queue.get()) is not None:
            yield batch


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(17, 4), torch.arange(17) % 2), batch_size=4, shuffle=True)
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in BackgroundLoader(loader):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
