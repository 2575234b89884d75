"""Which layer, at which batch, at which step: the join of a model and its loaders.

The room is not called ``forecast``: importing it would put the package in the place of ``bnguard.forecast``. Its two
functions are resolved on first use, so that ``reporting`` can be had without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnguard._forecast.request import forecast, forecast_calls

__all__ = ["forecast", "forecast_calls"]

_HOMES = {"forecast": "bnguard._forecast.request", "forecast_calls": "bnguard._forecast.request"}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
