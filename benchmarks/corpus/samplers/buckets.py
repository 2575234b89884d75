"""Buckets by length, each with a tail of its own: 13 short and 8 long sequences in batches of four."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler


class Sequences(Dataset):
    lengths = [3 if i % 21 < 13 else 7 for i in range(21)]

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, i):
        return torch.randn(self.lengths[i], 5), i % 2


class Buckets(Sampler):
    def __init__(self, lengths, batch_size):
        self.buckets = [[i for i, n in enumerate(lengths) if n == length] for length in sorted(set(lengths))]
        self.batch_size = batch_size

    def __iter__(self):
        for bucket in self.buckets:
            for i in range(0, len(bucket), self.batch_size):
                yield bucket[i : i + self.batch_size]

    def __len__(self):
        return sum(-(-len(b) // self.batch_size) for b in self.buckets)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(5, 6, batch_first=True)
        self.bn = nn.BatchNorm1d(6)
        self.out = nn.Linear(6, 2)

    def forward(self, x):
        _, h = self.rnn(x)
        return self.out(self.bn(h[-1]))


torch.manual_seed(0)
data = Sequences()
loader = DataLoader(data, batch_sampler=Buckets(data.lengths, 4))
model = Tagger()
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
