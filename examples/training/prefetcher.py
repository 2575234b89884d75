"""A prefetcher that has the next batch ready before this one is used, as timm's and NVIDIA's do.

Nine images in batches of eight: when the first batch trains, the second, of one image, is there already. The
BatchNorm2d layer behind the pooling (2) stops training when its turn comes, at step 2.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Prefetcher:
    """Gives each batch as floats, one behind the loader."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        held = None
        for images, labels in self.loader:
            ready = images.float().div(255), labels
            if held is not None:
                yield held
            held = ready
        if held is not None:
            yield held


def main() -> None:
    torch.manual_seed(0)
    images = torch.randint(256, (9, 3, 8, 8), dtype=torch.uint8)
    train_loader = DataLoader(TensorDataset(images, torch.arange(9) % 2), batch_size=8, shuffle=True)
    batches = Prefetcher(train_loader)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            print(f"a step with {len(x)} images")


if __name__ == "__main__":
    main()
