"""The same tail of one sample, and GroupNorm instead of BatchNorm: it looks at one sample at a time.

Seven images in batches of three. Each group of channels still has many pixels to itself, so both epochs run through.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(4, outputs), nn.ReLU())


def main() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.rand(7, 3, 32, 32), torch.randint(5, (7,)))
    train_loader = DataLoader(data, batch_size=3, shuffle=True)
    val_loader = DataLoader(data, batch_size=3)
    model = nn.Sequential(block(3, 16), block(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, nesterov=True, momentum=0.9)
    for epoch in range(2):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            loss = sum(F.cross_entropy(model(x), y, reduction="sum") for x, y in val_loader) / len(data)
        print(f"epoch {epoch}: validation loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
