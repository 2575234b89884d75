"""A validation that measures the loss in training mode on purpose, every second epoch: its tail holds one sample.

Twelve samples train in batches of four. The nine that validate are batches of four, four and one: the BatchNorm1d layer
(encoder.1) stops the run at step 3 of the validation, after the second epoch.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x))


def samples(count: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, 6), torch.randn(count, 1))


@torch.no_grad()
def loss_in_training_mode(model: nn.Module, loader: DataLoader) -> float:
    model.train()
    return sum(F.mse_loss(model(x), y, reduction="sum").item() for x, y in loader) / len(loader.dataset)


def main() -> None:
    torch.manual_seed(0)
    train_loader, val_loader = DataLoader(samples(12), 4, shuffle=True), DataLoader(samples(9), 4)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters())
    for epoch in range(4):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        if epoch % 2:
            print(f"epoch {epoch}: {loss_in_training_mode(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
