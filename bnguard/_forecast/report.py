"""From forecasts to the report: every fact once, the findings of the join, and the ways out that help. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bnguard._facts.findings import Report
from bnguard._facts.forecasts import ForecastFact
from bnguard._facts.loaders import LoaderFact, Suggestion
from bnguard._facts.models import ModelFact
from bnguard._rules import CATALOGUE


class Forecast(NamedTuple):
    """A forecast, the model at the batch size that decides it, and whether batches of two or more are a way out."""

    fact: ForecastFact
    model: ModelFact | None
    two_hold: bool


def report_on(
    forecasts: Sequence[Forecast],
    loaders: Sequence[LoaderFact],
    suggestions: Sequence[Suggestion],
    command: str = "forecast",
    *,
    torch: str | None,
) -> Report:
    """Return the report on these forecasts.

    Of the suggestions of the audit those are kept that help the models at hand.
    """
    facts = tuple(f.fact for f in forecasts)
    seen = _models(forecasts)
    return Report(
        command,
        models=seen,
        loaders=tuple(loaders),
        suggestions=tuple(way for way in suggestions if _helps(way, forecasts)),
        forecasts=facts,
        findings=CATALOGUE.judge_forecasts(seen, loaders, facts),
        torch=torch,
    )


def _models(forecasts: Sequence[Forecast]) -> tuple[ModelFact, ...]:
    """Return each model once for each of its modes: at the size where it stops first, else where it was looked at."""
    models: dict[tuple[str, str], Forecast] = {}
    for forecast in forecasts:
        if forecast.model is not None:
            known = models.setdefault((forecast.model.target, forecast.model.mode), forecast)
            if forecast.fact.stops and not known.fact.stops:
                models[forecast.model.target, forecast.model.mode] = forecast
    return tuple(f.model for f in models.values() if f.model is not None)


def _helps(way: Suggestion, forecasts: Sequence[Forecast]) -> bool:
    """Whether the epoch stops (or may stop) for a single sample, so that larger batches are a way out."""
    related = [f for f in forecasts if f.fact.loader == way.loader]
    return any(f.fact.stops is not False for f in related) and all(
        f.two_hold and f.fact.batch_size in (None, 1) and not _is_the_models_part(f.fact) for f in related
    )


def _is_the_models_part(fact: ForecastFact) -> bool:
    """Whether another batch is no cure: the model belongs in eval mode, or more samples only silence a group of one.

    With more samples GroupNorm raises nothing for groups of one value, and its output is the bias.
    """
    at = fact.at
    return at is not None and (at.per == "group" or (at.situation is not None and at.situation.trains is False))
