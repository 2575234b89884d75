"""Nine samples in batches of eight: the epoch that dies at its second step, and four ways to finish it.

bnguard scan examples/nine_samples.py
python examples/nine_samples.py
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnguard


class Tabular(nn.Module):
    """Two Linear layers with a BatchNorm between them."""

    def __init__(self, features: int = 6, classes: int = 3) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, 16)
        self.norm = nn.BatchNorm1d(16)
        self.out = nn.Linear(16, classes)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.norm(self.hidden(rows))))


def epoch(model: nn.Module, loader: DataLoader) -> str:
    """Train one epoch; say which batches it took, or where it stopped."""
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    sizes = []
    model.train()
    try:
        for rows, labels in loader:
            loss = nn.functional.cross_entropy(model(rows), labels)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            sizes.append(len(rows))
    except ValueError as error:
        return f"stops at step {len(sizes) + 1} of {len(loader)}: {str(error).partition(',')[0]}"
    return f"finishes, batches {sizes}"


def main() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(9, 6), torch.randint(3, (9,)))
    loader = DataLoader(data, batch_size=8, shuffle=True)

    print("as it is:            ", epoch(Tabular(), loader))
    print("merge_tail:          ", epoch(Tabular(), bnguard.repair.merge_tail(loader)))
    print("balance:             ", epoch(Tabular(), bnguard.repair.balance(loader)))
    for fix in (bnguard.repair.allow_single_sample, bnguard.repair.freeze):
        model = Tabular()
        done = fix(model)
        print(f"{done.name + ':':21}", epoch(model, loader))


if __name__ == "__main__":
    main()
