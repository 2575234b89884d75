"""What all rules say of a forecast: first of the loaders with the models in view, then what is left of the models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from bnguard.findings import Finding, Severity
from bnguard.rules import CATALOGUE

if TYPE_CHECKING:
    from bnguard.facts import ModelFact
    from bnguard.forecast_facts import ForecastFact
    from bnguard.loader_facts import LoaderFact

_OF_THIS_SIZE = ("BN102", "BN103")
"""Rules that judge one batch size as if all batches had it: a forecast knows better."""

_BEFORE_TRAINING = "BN302"
"""Speaks of running statistics that nothing has updated yet, as is right before training."""

_OF_THE_FAILURE = ("BN101", "BN105")
"""Rules that name the layers that fail, which a forecast has done where it stops at a lone sample."""

_OF_ONE_LAYER = ("BN104", "BN205")
"""Rules that name a layer for the reason for which it fails, and others for another reason."""


def judge(
    models: Iterable[ModelFact], loaders: Iterable[LoaderFact], forecasts: Sequence[ForecastFact]
) -> tuple[Finding, ...]:
    """Return the findings of a forecast: the answer first, and nothing twice.

    Args:
        models: each at the batch size that decides its forecast.
        loaders: as audited.
        forecasts: of these models on these loaders.

    """
    told = [f for x in loaders for f in CATALOGUE.judge_in_view(x, [y for y in forecasts if y.loader == x.name])]
    trained = {f.model for f in forecasts if f.mode == "train"}
    left = (f for f in _of_models(models, told) if f.code != _BEFORE_TRAINING or f.model not in trained)
    return (*told, *left)


def _of_models(models: Iterable[ModelFact], told: Sequence[Finding]) -> Iterator[Finding]:
    seen: set[tuple[str, str | None, str | None]] = set()
    for model in models:
        for finding in CATALOGUE.judge(models=[model]):
            key = (finding.code, finding.model, finding.layer)
            if key not in seen and not _is_told(finding, model, told):
                seen.add(key)
                yield finding


def _is_told(finding: Finding, model: ModelFact, told: Sequence[Finding]) -> bool:
    if finding.code in _OF_THIS_SIZE:
        return True
    if model.batch_size != 1:
        return False
    stops = [f for f in told if f.model == finding.model and f.severity is Severity.ERROR]
    if finding.code in _OF_THE_FAILURE:
        return bool(stops)
    return finding.code in _OF_ONE_LAYER and any(f.layer == finding.layer for f in stops)
