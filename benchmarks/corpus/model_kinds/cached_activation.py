"""The model keeps its features for a second loss: it cannot be copied after a step."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.bn, self.out = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)

    def forward(self, x):
        self.features = F.relu(self.bn(self.fc(x)))
        return self.out(self.features)


torch.manual_seed(0)
model = Net()
loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        (F.cross_entropy(model(x), y) + 0.01 * model.features.pow(2).mean()).backward()
        opt.step()
