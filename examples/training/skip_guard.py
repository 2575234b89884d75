"""A loop that passes over a batch of one sample, as careful people write it: the loader gives it, and nothing stops.

Nine samples in batches of four are 4 + 4 + 1. The last batch never reaches the BatchNorm1d layer.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    torch.manual_seed(0)
    train_loader = DataLoader(TensorDataset(torch.randn(9, 6), torch.randint(2, (9,))), batch_size=4, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(2):
        for step, (x, y) in enumerate(train_loader):
            if x.size(0) < 2:
                print(f"epoch {epoch}: step {step} is passed over")
                continue
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


if __name__ == "__main__":
    main()
