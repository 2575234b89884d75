"""What the command lines of click, typer, fire and Hydra start."""

import torch
import torch.nn.functional as F  # noqa: N812
from _use import allowed, merged, train
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def run(samples: int, batch_size: int) -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(samples, 6), torch.arange(samples) % 2)
    train_loader = merged(DataLoader(data, batch_size=batch_size, shuffle=True))
    model = allowed(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def fit() -> None:
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    train(fit, model, train_loader)
