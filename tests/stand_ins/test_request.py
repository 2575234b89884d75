"""What the answers rest on where something was stood in for."""

from __future__ import annotations

from bnguard._facts.forecasts import ForecastFact
from bnguard._forecast.stand_ins import resting_on
from bnguard._stand_ins import StoodIn

GUESSED = ForecastFact("net", "train", "train", stops=False).assuming("input 3×8×8")


def test_every_assumption_is_kept() -> None:
    data = StoodIn("ImageFolder", "9 random samples", "ImageFolder has 9 samples")
    fact = resting_on([data, StoodIn("cuda", "the CPU")], GUESSED)
    assert fact.assumption == "input 3×8×8 and ImageFolder has 9 samples"
    assert (fact.stops, fact.ground) == (False, "assumed")
    assert resting_on([StoodIn("cuda", "the CPU")], GUESSED) is GUESSED


def test_nothing_is_promised_of_data_that_have_another_size() -> None:
    data = StoodIn("MNIST", "64 random samples", "MNIST has 64 samples, not 60,000", untrue=True)
    fact = resting_on([data], GUESSED)
    assert fact.stops is None
    assert "MNIST has 64 samples, not 60,000" in (fact.unknown or "")
