"""A DeepLab-style head: the branch that pools the whole image has one value per channel for every single image.

bnguard scan examples/deeplab_aspp.py
python examples/deeplab_aspp.py
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def conv_bn(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class ImagePooling(nn.Module):
    """Global context: the mean of the map, brought back to its size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = conv_bn(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.project(F.adaptive_avg_pool2d(x, 1))
        return F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=False)


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: three views of the map and its mean, side by side."""

    def __init__(self, inputs: int, outputs: int = 64) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_bn(inputs, outputs), conv_bn(inputs, outputs, 3, 2), conv_bn(inputs, outputs, 3, 4)]
        )
        self.pooling = ImagePooling(inputs, outputs)
        self.merge = conv_bn(4 * outputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.merge(torch.cat([*(branch(x) for branch in self.branches), self.pooling(x)], dim=1))


class Segmenter(nn.Module):
    """A small encoder, the pyramid and a classifier for every pixel."""

    def __init__(self, num_classes: int = 21) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv_bn(3, 32, 3), nn.MaxPool2d(2), conv_bn(32, 64, 3), nn.MaxPool2d(2))
        self.aspp = Aspp(64)
        self.classify = nn.Conv2d(64, num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.classify(self.aspp(self.encoder(images)))
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)


def main() -> None:
    import bnguard

    found = bnguard.scan(Segmenter(), inputs=(3, 128, 128)).models[0]
    layer = next(x for x in found.layers if x.name == found.first_failure)
    print(f"first failure: {layer.name}, input {layer.calls[0].shape}, needs batch size {layer.min_batch_size}")
    print(f"the other {len(found.layers) - len(found.failing)} layers run on one image")
    try:
        Segmenter()(torch.randn(1, 3, 128, 128))
    except ValueError as error:
        print(f"PyTorch: {error}")


if __name__ == "__main__":
    main()
