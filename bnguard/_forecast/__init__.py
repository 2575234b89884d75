"""Which layer, at which batch, at which step: the join of a model and its loaders.

Its two functions are resolved on first use, so that ``report`` can be had without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnguard._forecast.request import forecast, forecast_calls

__all__ = ["forecast", "forecast_calls"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bnguard._forecast import request

    return getattr(request, name)
