"""A validation that leaves the model in training mode: the training loader is fine, the validation loader is not.

Eight samples train in two batches of four. The five that validate are batches of two, two and one, and nobody has
called eval(): the BatchNorm1d layer (1) stops the run at step 3 of the validation, after the first epoch.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def samples(count: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, 6), torch.randn(count, 1))


def main() -> None:
    torch.manual_seed(0)
    train_loader = DataLoader(samples(8), batch_size=4, shuffle=True)
    val_loader = DataLoader(samples(5), batch_size=2)
    model = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, 1))
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(2):
        for x, y in train_loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            losses = [F.mse_loss(model(x), y).item() for x, y in val_loader]
        print(f"epoch {epoch}: validation loss {sum(losses) / len(losses):.3f}")


if __name__ == "__main__":
    main()
