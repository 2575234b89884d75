"""A siamese network on thirteen pairs in batches of six: one encoder, called once for each side of a pair.

The third and last batch holds one pair, so each call of the encoder sees one image. The BatchNorm1d behind its last
Linear layer (embed.1) gets one value per channel and training stops at step 3, in the first of the two calls.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Pairs(Dataset):
    """Two images, and whether they show the same."""

    def __len__(self) -> int:
        return 13

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, float]:
        first = torch.rand(1, 16, 16)
        same = i % 2 == 0
        return first, first + 0.1 * torch.rand(1, 16, 16) if same else torch.rand(1, 16, 16), float(same)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.embed = nn.Sequential(nn.Linear(8 * 64, 32), nn.BatchNorm1d(32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embed(self.features(x).flatten(1))


def main() -> None:
    torch.manual_seed(0)
    loader = DataLoader(Pairs(), batch_size=6, shuffle=True)
    encoder = Encoder()
    optimizer = torch.optim.RMSprop(encoder.parameters(), lr=1e-3)
    for _ in range(2):
        for left, right, same in loader:
            distance = F.pairwise_distance(encoder(left), encoder(right))
            loss = (same * distance**2 + (1 - same) * F.relu(1 - distance) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(f"loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
