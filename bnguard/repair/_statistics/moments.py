"""Mean and variance of many values that come in pieces of any size, one at a time too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of each channel, on the CPU in double precision.

    Two of them become one without loss (Chan, Golub and LeVeque 1983), so that neither the sizes of the pieces nor
    their order matter.

    Attributes:
        count: values per channel.
        mean: of each channel, shape (C,).
        deviations: sum of (x - mean)² of each channel, shape (C,).

    """

    count: int
    mean: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Moments:
        """Return the moments of one input, channels at dimension 1."""
        if x.device.type != "mps":  # which knows no double precision
            x = x.double()
        rows = x.transpose(0, 1).flatten(1)
        mean = rows.mean(1)
        deviations = (rows - mean[:, None]).square().sum(1)
        return cls(rows.shape[1], mean.double().cpu(), deviations.double().cpu())

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both together."""
        count = self.count + other.count
        if not count or not self.count:
            return other
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * (other.count / count),
            self.deviations + other.deviations + apart.square() * (self.count * other.count / count),
        )

    @property
    def variance(self) -> Tensor:
        """The unbiased variance, which PyTorch keeps in ``running_var``; two values per channel are needed."""
        return self.deviations / (self.count - 1)

    @property
    def finite(self) -> bool:
        """Whether there is neither NaN nor infinity in them."""
        return bool(torch.isfinite(self.mean).all() and torch.isfinite(self.deviations).all())


def together(parts: Iterable[Moments | None]) -> Moments | None:
    """Return the moments of all parts, None where there is none."""
    known = [part for part in parts if part is not None]
    return reduce(Moments.__add__, known) if known else None
