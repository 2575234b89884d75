"""Accelerate on one process."""

import torch
import torch.nn.functional as F  # noqa: N812
from _use import allowed, merged, train
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    model = allowed(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)))
    data = TensorDataset(torch.randn(17, 6), torch.arange(17) % 2)
    loader = merged(DataLoader(data, batch_size=8, shuffle=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    def fit() -> None:
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(F.cross_entropy(model(x), y))
            optimizer.step()

    train(fit, model, loader)


if __name__ == "__main__":
    main()
