"""ResNet-18 on nine images, split 5:3:2 as fractions: five of them train, in batches of four.

The second and last batch of each epoch holds one image. On 32 × 32 pixels the maps of the last stage are a single
pixel, so its first BatchNorm layer (layer4.0.bn1) gets one value per channel and training stops at step 2.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import transforms
from torchvision.datasets import FakeData
from torchvision.models import resnet18


def main() -> None:
    torch.manual_seed(0)
    images = FakeData(size=9, image_size=(3, 32, 32), num_classes=3, transform=transforms.ToTensor())
    train_set, val_set, test_set = random_split(images, [0.5, 0.3, 0.2])
    train_loader = DataLoader(train_set, batch_size=4, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=4)
    test_loader = DataLoader(test_set, batch_size=4)

    model = resnet18(num_classes=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(2):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {accuracy(model, val_loader):.0%}")
    print(f"test accuracy {accuracy(model, test_loader):.0%}")


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    right = [(model(x).argmax(1) == y).float() for x, y in loader]
    return torch.cat(right).mean().item()


if __name__ == "__main__":
    main()
