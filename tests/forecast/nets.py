"""Small networks, each with one thing that a forecast must see."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def cnn(norm: nn.Module | None = None, classes: int = 3) -> nn.Sequential:
    """Fails at one sample: a BatchNorm1d (or another) behind a global pool; its first layer sees 6×6 pixels."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.BatchNorm1d(4) if norm is None else norm, nn.Linear(4, classes),
    )  # fmt: skip


def spatial() -> nn.Sequential:
    """Holds at one sample: every layer sees more than one pixel."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


class Squeezes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(F.adaptive_avg_pool2d(self.conv(x), 1).squeeze())


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = cnn()

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.trunk(first) - self.trunk(second)


class Tokens(nn.Module):
    """Takes a dict's keys by name, as language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 6), nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        x = self.embed(input_ids)
        if attention_mask is not None:
            x = x * attention_mask.unsqueeze(-1)
        return self.head(x.mean(1))


class Frozen(nn.Module):
    """A pretrained backbone whose BatchNorm stays in eval mode, whatever is called on the root."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cnn()

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        for module in self.net:
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class Halves(nn.Module):
    """Normalises the two halves of a batch by themselves: 3 samples fail too."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cnn()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.net(half) for half in x.chunk(2)])


class Reshapes(nn.Module):
    """Takes for granted that there are eight samples."""

    def __init__(self) -> None:
        super().__init__()
        self.net = spatial()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.view(8, 3, 8, 8))


class Decides(nn.Module):
    """Goes another way for some values, so that shapes alone do not lead through."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cnn()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x * 2 if x.max() > 100 else x)


class Mixed(nn.Module):
    """Its layer was converted on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class WrongWidth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))
