"""Without BatchNorm squeeze() breaks the loss of the last batch: it stops, but no normalisation layer is to blame."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(F.adaptive_avg_pool2d(self.bn(self.conv(x)), 1).squeeze())


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(9, 1, 6, 6), torch.randint(0, 2, (9,))), 4)
model = Net()
opt = torch.optim.SGD(model.parameters(), 0.01)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
