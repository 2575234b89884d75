"""What the running statistics of a layer hold, where their values are at hand."""

from __future__ import annotations

import torch
from torch import Tensor

from bnguard.facts import StatisticsFact

COLLAPSED = 1e-8
"""A variance below this is none: a live channel of any trained network is orders of magnitude above."""


def statistics_fact(mean: Tensor, var: Tensor, tracked: Tensor | None) -> StatisticsFact | None:
    """Summarise running mean and variance (any shape, one value a channel); None without values."""
    if mean.is_meta or var.is_meta or mean.numel() == 0:
        return None
    with torch.no_grad():
        finite = (
            torch.isfinite(mean.float()) & torch.isfinite(var.float())
            if mean.shape == var.shape
            else (torch.isfinite(var.float()))
        )
        counted = tracked is not None and not tracked.is_meta and int(tracked) > 0
        fresh = bool((mean == 0).all()) and bool((var == 1).all())
        return StatisticsFact(
            nonfinite=int((~finite | (var.float() < 0)).sum()),
            never_updated=fresh and not counted,
            collapsed=float((var.float().abs() < COLLAPSED).float().mean()),
        )
