"""A PointNet-style network on sequences of points: convolutions run on one cloud, the layers behind the max do not.

bnguard scan examples/pointnet.py
python examples/pointnet.py
"""

import torch
from torch import nn


class Transform(nn.Module):
    """The spatial transformer: predicts a k × k matrix from all points together."""

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        self.k = k
        self.points = nn.Sequential(
            nn.Conv1d(k, 64, 1),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Conv1d(64, 256, 1),
            nn.BatchNorm1d(256),
            nn.ReLU(),
        )
        self.matrix = nn.Sequential(nn.Linear(256, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, k * k))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.points(x).max(dim=2).values
        return self.matrix(pooled).view(-1, self.k, self.k) + torch.eye(self.k, device=x.device)


class PointNet(nn.Module):
    """Classifies a cloud of points, given as (N, 3, points)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.transform = Transform(3)
        self.points = nn.Sequential(
            nn.Conv1d(3, 64, 1), nn.BatchNorm1d(64), nn.ReLU(), nn.Conv1d(64, 256, 1), nn.BatchNorm1d(256)
        )
        self.classify = nn.Sequential(nn.Linear(256, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, num_classes))

    def forward(self, cloud: torch.Tensor) -> torch.Tensor:
        moved = torch.bmm(self.transform(cloud), cloud)
        return self.classify(self.points(moved).max(dim=2).values)


def main() -> None:
    import bnguard

    found = bnguard.scan(PointNet(), inputs=(3, 1024)).models[0]
    print("in execution order:", ", ".join(x.name for x in found.failing))
    print("verdicts:", ", ".join(f"{x.name} {x.verdict}" for x in found.layers if x.verdict != "fails"))
    try:
        PointNet()(torch.randn(1, 3, 1024))
    except ValueError as error:
        print(f"PyTorch: {error}")


if __name__ == "__main__":
    main()
