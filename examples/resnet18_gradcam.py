"""A ResNet-18 feature extractor with a Grad-CAM style classifier: the backbone survives one sample, the head does not.

bnguard scan examples/resnet18_gradcam.py
python examples/resnet18_gradcam.py
"""

import torch
import torchvision
from torch import nn


class GradCamClassifier(nn.Module):
    """The last feature maps are kept, so that their gradient can be drawn over the image."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        resnet = torchvision.models.resnet18(weights=None)
        self.features = nn.Sequential(*list(resnet.children())[:-2])  # without avgpool and fc
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(512, 128),
            nn.BatchNorm1d(128),  # one value per channel as soon as the batch holds one sample
            nn.ReLU(inplace=True),
            nn.Linear(128, num_classes),
        )
        self.maps: torch.Tensor | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.maps = self.features(images)
        return self.head(self.pool(self.maps))


def main() -> None:
    import bnguard

    model = GradCamClassifier()
    found = bnguard.scan(model, inputs=(3, 224, 224)).models[0]
    print(f"{len(found.layers)} layers, the first to fail at batch size 1: {found.first_failure}")
    print(f"maps kept by the scan: {model.maps}")
    for batch_size in (2, 1):
        try:
            shape = tuple(model.train()(torch.randn(batch_size, 3, 224, 224)).shape)
            print(f"batch of {batch_size}: runs, {shape}")
        except ValueError as error:
            print(f"batch of {batch_size}: {error}")


if __name__ == "__main__":
    main()
