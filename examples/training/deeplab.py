"""DeepLabV3 on seven images in batches of three: the last batch holds one.

The branch of its pyramid that pools the whole image leaves one pixel, whatever the image's size. Behind it stands
classifier.0.convs.4.2, a BatchNorm layer that gets one value per channel at step 3.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

CLASSES = 4


def main() -> None:
    torch.manual_seed(0)
    images = torch.rand(7, 3, 64, 64)
    masks = torch.randint(CLASSES, (7, 64, 64))
    loader = DataLoader(TensorDataset(images, masks), batch_size=3, shuffle=True)

    model = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=6)
    criterion = nn.CrossEntropyLoss()
    model.train()
    for _ in range(2):
        for x, mask in loader:
            loss = criterion(model(x)["out"], mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            print(f"loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
