"""Small models of every kind that a fix must get right."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class FusedNorm(nn.BatchNorm2d):
    """A BatchNorm with dropout and activation inside, the way image backbones write it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop = nn.Dropout(0.5)
        self.act = nn.PReLU(init=0.1)

    def forward(self, x):
        self._check_input_dim(x)
        x = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )
        return self.act(self.drop(x))


class ScaledNorm(nn.BatchNorm2d):
    """Does something after normalising that no child of it does."""

    def forward(self, x):
        return super().forward(x) * 2


def classifier() -> nn.Sequential:
    """Fails at batch size 1 in ``3``: BatchNorm1d after a Linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Flatten(), nn.Linear(8, 6)),
        nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2),
    )  # fmt: skip


class Shared(nn.Module):
    """One BatchNorm under two names, and called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.again = nn.Sequential(nn.Linear(4, 4), self.norm)

    def forward(self, x):
        return self.again(self.norm(self.first(x)))


class Functional(nn.Module):
    """Normalises outside any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return F.batch_norm(self.norm(self.linear(x)), None, None, training=True)


def fused() -> nn.Sequential:
    """A fused activation, which one pixel breaks at batch size 1."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), FusedNorm(8), nn.Flatten())


def step(model: nn.Module, x: torch.Tensor) -> None:
    """One real training step; loss and gradients must be finite."""
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.01)
    model.train()
    loss = model(x).square().mean()
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
