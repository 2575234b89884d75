"""Which layer, at which batch, at which step: the join of a model and its loaders.

The room is not called ``forecast``: importing it would put the package in the place of ``bnguard.forecast``.
"""

from bnguard.forecasting.calls import forecast_calls
from bnguard.forecasting.request import forecast

__all__ = ["forecast", "forecast_calls"]
