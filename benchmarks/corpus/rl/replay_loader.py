"""A replay buffer behind an IterableDataset, as in Lightning Bolts' DQN; acting is random, sampled batches are full."""

import random
from collections import deque
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Replay(IterableDataset):
    def __init__(self, buffer, size):
        self.buffer, self.size = buffer, size

    def __iter__(self):
        yield from random.sample(self.buffer, self.size)


random.seed(0)
torch.manual_seed(0)
buffer = deque(maxlen=100)
q = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
opt = torch.optim.Adam(q.parameters())
for _ in range(64):
    buffer.append((torch.randn(4), random.randrange(2), random.random()))
loader = DataLoader(Replay(buffer, 32), batch_size=8)
for episode in range(3):
    for s, a, r in loader:
        opt.zero_grad()
        F.mse_loss(q(s).gather(1, a[:, None]).squeeze(1), r.float()).backward()
        opt.step()
    buffer.append((torch.randn(4), random.randrange(2), random.random()))
