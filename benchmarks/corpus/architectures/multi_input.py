"""Words and numbers as keyword arguments; BatchNorm over the joined features."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        return {"words": torch.randint(50, (7,), generator=g), "numbers": torch.randn(4, generator=g), "label": i % 2}


class Tabular(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.norm, self.out = nn.EmbeddingBag(50, 8), nn.BatchNorm1d(12), nn.Linear(12, 2)

    def forward(self, words, numbers, weight=None):
        return self.out(self.norm(torch.cat([self.words(words), numbers], 1)))


torch.manual_seed(0)
loader = DataLoader(Rows(), batch_size=5, shuffle=True)
model = Tabular()
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for batch in loader:
        labels = batch.pop("label")
        opt.zero_grad()
        F.cross_entropy(model(**batch), labels).backward()
        opt.step()
