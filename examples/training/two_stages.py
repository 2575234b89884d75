"""Two training stages, each with a loader of its own: the second one is what stops.

The warm-up has 24 samples in batches of 8. The fine-tuning has 17, and the last of its three batches holds one: the
BatchNorm1d layer (1) stops training at step 3 of finetune_loader, after the warm-up is done.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def samples(count: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, 6), torch.randint(2, (count,)))


def fit(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def main() -> None:
    torch.manual_seed(0)
    warmup_loader = DataLoader(samples(24), batch_size=8, shuffle=True)
    finetune_loader = DataLoader(samples(17), batch_size=8, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    for epoch in range(2):
        fit(model, warmup_loader, torch.optim.SGD(model[3].parameters(), lr=0.1))
        print(f"warm-up, epoch {epoch}")
    for epoch in range(2):
        fit(model, finetune_loader, torch.optim.SGD(model.parameters(), lr=0.01))
        print(f"fine-tuning, epoch {epoch}")


if __name__ == "__main__":
    main()
