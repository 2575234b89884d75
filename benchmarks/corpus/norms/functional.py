"""F.batch_norm with buffers of one's own in a custom layer."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class ConditionalBatchNorm(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("var", torch.ones(features))
        self.gain = nn.Embedding(classes, features)

    def forward(self, x, y):
        return F.batch_norm(x, self.mean, self.var, training=self.training) * self.gain(y)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)
        self.cbn = ConditionalBatchNorm(8, 2)
        self.out = nn.Linear(8, 1)

    def forward(self, x, y):
        return self.out(self.cbn(self.fc(x), y).relu())


torch.manual_seed(0)
model = Net()
loader = DataLoader(TensorDataset(torch.randn(10, 6), torch.randint(0, 2, (10,))), 3, shuffle=True)
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        model(x, y).pow(2).mean().backward()
        opt.step()
