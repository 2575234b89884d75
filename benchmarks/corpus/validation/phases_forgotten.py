"""The loop over phases, where model.train(training) was forgotten."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
loaders = {
    "train": DataLoader(TensorDataset(torch.randn(16, 6), torch.randint(0, 2, (16,))), 4, shuffle=True),
    "val": DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(0, 2, (9,))), 4),
}
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for phase in ("train", "val"):
        training = phase == "train"
        with torch.set_grad_enabled(training):
            for x, y in loaders[phase]:
                loss = F.cross_entropy(model(x), y)
                if training:
                    opt.zero_grad()
                    loss.backward()
                    opt.step()
