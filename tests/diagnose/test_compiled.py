"""A failure within torch.compile's wrapper, whose own ``__len__`` refuses where the model has none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bnguard


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(4, 8), nn.BatchNorm1d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.bn(self.fc(x))
        return out


def test_a_wrapper_that_refuses_its_length_is_a_module_all_the_same() -> None:
    model = torch.compile(Net(), backend="eager")
    with torch.compiler.set_stance("force_eager"), pytest.raises(ValueError, match="Expected more than 1") as caught:
        model(torch.randn(1, 4))
    assert bnguard.diagnose(caught.value).layer == "bn"
