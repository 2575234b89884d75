"""A frozen backbone whose train() is overridden, so that one sample is no danger to it, and a head without BatchNorm.

bnguard scan examples/frozen_backbone.py
python examples/frozen_backbone.py
"""

from __future__ import annotations

import torch
import torchvision
from torch import nn


class FineTuned(nn.Module):
    """ResNet-18 with frozen features: BatchNorm keeps its statistics through every model.train()."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.backbone = torchvision.models.resnet18(weights=torchvision.models.ResNet18_Weights.DEFAULT)
        self.backbone.fc = nn.Identity()
        self.backbone.requires_grad_(False)
        self.head = nn.Linear(512, num_classes)

    def train(self, mode: bool = True) -> FineTuned:
        super().train(mode)
        self.backbone.eval()  # model.train() would put the statistics back into motion
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images))


def main() -> None:
    import bnguard

    # the target is built without its weights: nothing is downloaded
    found = bnguard.scan(f"{__file__}:FineTuned", inputs=(3, 32, 32)).models[0]
    print(f"{len(found.layers)} layers, verdicts: {sorted({x.verdict for x in found.layers})}")
    print(f"first failure at batch size 1: {found.first_failure}")
    for note in found.notes:
        print(note)


if __name__ == "__main__":
    main()
