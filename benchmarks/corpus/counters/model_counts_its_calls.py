"""The model normalises only after ten calls; eight batches with a tail of one, so that the second epoch's tail is the first normalised one of its size."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Delayed(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.bn, self.out, self.calls = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2), 0

    def forward(self, x):
        h = self.fc(x)
        self.calls += 1
        if self.calls > 10:
            h = self.bn(h)
        return self.out(h.relu())


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(29, 6), torch.randint(0, 2, (29,))), 4, shuffle=True)
model = Delayed()
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
