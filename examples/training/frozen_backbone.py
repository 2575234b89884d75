"""A frozen ResNet-18 with a new head, five images in batches of two: the last batch holds one, and nothing breaks.

The backbone stays in eval mode because train() says so; its BatchNorm layers use their running statistics. The head has
no BatchNorm. Both epochs run to their end.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import FakeData
from torchvision.models import resnet18


class FineTuned(nn.Module):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.backbone = resnet18()
        self.backbone.fc = nn.Identity()
        self.backbone.requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, num_classes))

    def train(self, mode: bool = True) -> "FineTuned":
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))


def main() -> None:
    torch.manual_seed(0)
    images = FakeData(size=5, image_size=(3, 32, 32), num_classes=3, transform=transforms.ToTensor())
    train_loader = DataLoader(images, batch_size=2, shuffle=True)
    model = FineTuned()
    optimizer = torch.optim.Adam(model.head.parameters())
    model.train()
    for epoch in range(2):
        for x, y in train_loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
