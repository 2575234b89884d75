"""A thread copies the next batch on a stream of its own."""

import queue
import threading

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Prefetcher:
    def __init__(self, loader):
        self.loader, self.stream, self.queue = loader, torch.cuda.Stream(), queue.Queue(1)
        threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        for x, y in self.loader:
            with torch.cuda.stream(self.stream):
                self.queue.put((x.cuda(non_blocking=True), y.cuda(non_blocking=True)))
        self.queue.put(None)

    def __iter__(self):
        while (batch := self.queue.get()) is not None:
            torch.cuda.current_stream().wait_stream(self.stream)
            batch[0].record_stream(torch.cuda.current_stream())
            yield batch


net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).cuda()
optimizer = torch.optim.SGD(net.parameters(), 0.1)
loader = DataLoader(TensorDataset(torch.randn(13, 4), torch.randint(2, (13,))), batch_size=4)
for x, y in Prefetcher(loader):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()
torch.cuda.synchronize()
