"""An IterableDataset shared out to two workers: each makes batches of its own, and each has a tail of its own.

Of eleven samples the first worker gets six, the second five. In batches of four that is 4, 4, 2, 1 in the order in
which they arrive: step 4 holds one sample, though 11 % 4 is 3, and the BatchNorm1d layer (1) stops training there.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


class Lines(IterableDataset):
    """A stream of samples; every worker takes those that are its turn."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        for i in range(first, 11, step):
            yield torch.randn(12), i % 2


def main() -> None:
    torch.manual_seed(0)
    train_loader = DataLoader(Lines(), batch_size=4, num_workers=2)
    model = nn.Sequential(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 2))
    optimizer = torch.optim.Adagrad(model.parameters())
    for _ in range(2):
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            print(f"a step with {len(x)} samples")


if __name__ == "__main__":
    main()
