"""What all rules say of a forecast: first of the loaders with the models in view, then what is left of the models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from bnguard._facts.findings import Finding, Severity
from bnguard._rules import CATALOGUE

if TYPE_CHECKING:
    from bnguard._facts.forecasts import ForecastFact
    from bnguard._facts.loaders import LoaderFact
    from bnguard._facts.models import ModelFact


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
    return (*told, *_of_models(models, told, trained))


def _of_models(models: Iterable[ModelFact], told: Sequence[Finding], trained: set[str]) -> Iterator[Finding]:
    seen: set[tuple[str, str | None, str | None]] = set()
    for model in models:
        for finding in CATALOGUE.judge(models=[model]):
            key = (finding.code, finding.model, finding.layer)
            if key not in seen and not _is_told(finding, model, told, trained):
                seen.add(key)
                yield finding


def _is_told(finding: Finding, model: ModelFact, told: Sequence[Finding], trained: set[str]) -> bool:
    rule = CATALOGUE.find(finding.code)
    by = rule.told_by if rule else "nothing"
    if by == "training":
        return finding.model in trained
    if by in ("nothing", "forecast"):
        return by == "forecast"
    stops = [f for f in told if f.model == finding.model and f.severity is Severity.ERROR]
    at_one = model.batch_size == 1  # a forecast names the layers that fail at a lone sample, and no others
    return at_one and (bool(stops) if by == "stop" else any(f.layer == finding.layer for f in stops))
