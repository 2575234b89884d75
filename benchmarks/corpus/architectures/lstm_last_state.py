"""An LSTM whose hidden state is carried from batch to batch (drop_last is needed anyway), BatchNorm on the last state."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 8, batch_first=True)
        self.bn, self.out = nn.BatchNorm1d(8), nn.Linear(8, 1)
        self.state = None

    def forward(self, x):
        out, state = self.lstm(x, self.state)
        self.state = tuple(s.detach() for s in state)
        return self.out(self.bn(out[:, -1]))


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(9, 5, 3), torch.randn(9, 1)), 4, drop_last=True)
model = Forecaster()
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    model.state = None
    for x, y in loader:
        opt.zero_grad()
        F.mse_loss(model(x), y).backward()
        opt.step()
