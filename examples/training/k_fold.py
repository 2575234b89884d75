"""Four folds of ten samples in batches of two: a new model and new loaders for each of them.

The first two folds hold three samples and leave seven to train on: 2 + 2 + 2 + 1. The others leave eight. The script
drops the tail of the first two with drop_last=True, and evaluates in eval mode: nothing stops, in any of the folds.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset


def folds(count: int, k: int) -> list[list[int]]:
    sizes = [count // k + (i < count % k) for i in range(k)]
    starts = [sum(sizes[:i]) for i in range(k)]
    return [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


def main() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(10, 6), torch.randint(2, (10,)))
    for held_out in folds(len(data), 4):
        rest = [i for i in range(len(data)) if i not in held_out]
        train_loader = DataLoader(Subset(data, rest), batch_size=2, shuffle=True, drop_last=len(rest) % 2 == 1)
        val_loader = DataLoader(Subset(data, held_out), batch_size=2)
        model = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 2))
        optimizer = torch.optim.Adam(model.parameters())
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum(int((model(x).argmax(1) == y).sum()) for x, y in val_loader)
        print(f"{right} of {len(held_out)} are right")


if __name__ == "__main__":
    main()
