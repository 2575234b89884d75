"""PointNet on nine clouds in batches of four: the last batch holds one.

The convolutions see every point of a cloud, so one cloud is enough for them. Behind the maximum over the points a
cloud is one value per channel: the BatchNorm1d of the transformer (transform.matrix.1) stops training at step 3.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Clouds(Dataset):
    """Spheres and cubes of 128 points."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, i: int) -> dict:
        points = torch.randn(3, 128, generator=torch.Generator().manual_seed(i))
        norm = points.norm(dim=0) if i % 2 else points.abs().amax(dim=0)
        return {"cloud": points / norm, "label": i % 2}


class Transform(nn.Module):
    """Predicts a 3 × 3 matrix from all points together."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU())
        self.matrix = nn.Sequential(nn.Linear(32, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.points(x).max(dim=2).values
        return self.matrix(pooled).view(-1, 3, 3) + torch.eye(3)


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transform = Transform()
        self.points = nn.Sequential(nn.Conv1d(3, 64, 1), nn.BatchNorm1d(64), nn.ReLU())
        self.classify = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, cloud: torch.Tensor) -> torch.Tensor:
        moved = torch.bmm(self.transform(cloud), cloud)
        return self.classify(self.points(moved).max(dim=2).values)


torch.manual_seed(0)
train_loader = DataLoader(Clouds(), batch_size=4, shuffle=True)
model = PointNet()
optimizer = torch.optim.Adam(model.parameters())
for _epoch in range(2):
    for batch in train_loader:
        loss = F.cross_entropy(model(cloud=batch["cloud"]), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"loss {loss.item():.3f}")
