"""A small transformer with LayerNorm and a tail of one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, tokens):
        return self.out(self.encoder(self.embed(tokens)).mean(1))


torch.manual_seed(0)
model = Classifier()
loader = DataLoader(TensorDataset(torch.randint(0, 20, (9, 5)), torch.randint(0, 2, (9,))), 4)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
