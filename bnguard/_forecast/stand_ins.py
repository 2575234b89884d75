"""What becomes of a forecast where the data were not the real ones: it rests on that, and says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bnguard._facts.forecasts import ForecastFact
from bnguard._stand_ins import StoodIn


def resting_on(stood_in: Iterable[StoodIn], fact: ForecastFact) -> ForecastFact:
    """Return the forecast with what it assumes.

    That nothing stops is not known where the real data are known to have another size.
    """
    assumed = {one.assumed: one.untrue for one in stood_in if one.assumed is not None}
    if not assumed:
        return fact
    fact = fact.assuming(*assumed)
    untrue = " and ".join(what for what, is_untrue in assumed.items() if is_untrue)
    if fact.stops is not False or not untrue:
        return fact
    why = f"it does not stop if {untrue}; --fake-data real has as many as the real data"
    return replace(fact, stops=None, unknown=why)
