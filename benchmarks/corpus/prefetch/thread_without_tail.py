"""The same thread; seventeen samples with drop_last."""

import queue
import threading
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def background(loader, size=2):
    batches = queue.Queue(size)
    end = object()

    def fill():
        for batch in loader:
            batches.put(batch)
        batches.put(end)

    threading.Thread(target=fill, daemon=True).start()
    while (batch := batches.get()) is not end:
        yield batch


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(17, 4), torch.arange(17) % 2), batch_size=4, shuffle=True, drop_last=True)
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in background(loader):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
