"""The second stage has a tail of one, and freezes the body: its BatchNorm is in eval mode, the head has none."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.body(x))


def fit(model, loader, loss_fn, epochs):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()
            optimizer.step()


torch.manual_seed(0)
x = torch.randn(40, 5)
model = Net()
fit(model, DataLoader(TensorDataset(x, x), batch_size=8, shuffle=True), F.mse_loss, 2)
model.head = nn.Linear(8, 2)
model.body.requires_grad_(False).eval()
fit(model, DataLoader(TensorDataset(torch.randn(33, 5), torch.randint(0, 2, (33,))), batch_size=8), F.cross_entropy, 2)
