"""BatchNorm over the valid tokens of a padded batch; the last batch has one."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn, self.fc = nn.BatchNorm1d(4), nn.Linear(4, 1)

    def forward(self, x):
        return self.fc(self.bn(x[x.abs().sum(-1) > 0])).mean()


torch.manual_seed(0)
x = torch.randn(16, 5, 4)
x[12:, 1:] = 0
x[13:] = 0
model = Net()
opt = torch.optim.SGD(model.parameters(), 0.1)
for (a,) in DataLoader(TensorDataset(x), batch_size=4):
    opt.zero_grad()
    model(a).backward()
    opt.step()
