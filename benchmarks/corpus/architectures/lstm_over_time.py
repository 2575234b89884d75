"""BatchNorm1d over (batch, features, time): one sequence has five values per channel."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 8, batch_first=True)
        self.bn, self.out = nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, x):
        h, _ = self.lstm(x)
        return self.out(self.bn(h.transpose(1, 2)).transpose(1, 2))


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(9, 5, 3), torch.randint(0, 4, (9, 5))), 4)
model = Tagger()
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
        opt.step()
