"""A rule about a single sample, with the model in view: what is an error before one model is a note before another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bnguard._facts.findings import Consequence, Finding, Severity
from bnguard._remedies import KEEP_BATCH_DIMENSION, TRACK_STATISTICS, Advice
from bnguard._rules.registry import layer_and_class

if TYPE_CHECKING:
    from bnguard._facts.forecasts import ForecastFact, SizeFact
    from bnguard._facts.loaders import LoaderFact
    from bnguard._rules.registry import ForecastCheck, LoaderCheck, Rule


def with_model(check: LoaderCheck) -> ForecastCheck:
    """Return a check that finds what ``check`` finds, as grave as it is for the model at hand."""

    def judged(loader: LoaderFact, forecast: ForecastFact, rule: Rule) -> Iterator[Finding]:
        for finding in check(loader, rule):
            yield _in_view(finding, loader, forecast)

    return judged


def _in_view(finding: Finding, loader: LoaderFact, forecast: ForecastFact) -> Finding:
    one, single = forecast.size(1), loader.first_single
    if one is None or one.stops is None:
        return finding
    if not one.stops:
        return _holds(finding, loader, forecast, one)
    if single is not None and (single.step, single.rank) != (forecast.step, forecast.rank):
        after = Consequence(f"it does not come to that, as the epoch stops at step {forecast.step:,}")
        return replace(finding, severity=Severity.NOTE, consequence=after, remedies=(), model=forecast.model)
    return _fails(finding, loader, forecast, one)


def _fails(finding: Finding, loader: LoaderFact, forecast: ForecastFact, one: SizeFact) -> Finding:
    layer = layer_and_class(one.label, one.layer_type, one.num_features)
    end = f"{'training' if loader.mode == 'train' else 'evaluation'} stops"
    more = len(one.failing) - 1
    if more > 0:
        end += f" ({more:,} more layer{'s' * (more > 1)} would fail there as well)"
    return replace(
        finding,
        severity=Severity.ERROR,
        consequence=Consequence(f"{layer} {one.sees} there: {end}", joint=", and "),
        remedies=_of_the_model(one, loader) or finding.remedies,
        model=forecast.model,
        layer=one.layer,
        layer_line=one.source,
    )


def _of_the_model(one: SizeFact, loader: LoaderFact) -> tuple[Advice, ...]:
    """Return what helps where the model is to blame rather than the loader, else nothing."""
    if one.cause == "lost-dimension":
        return (KEEP_BATCH_DIMENSION.for_case(),)
    if loader.mode == "eval" and one.per == "channel":
        does = f"let {one.label} keep running statistics (track_running_stats=True) and be in eval mode here"
        return (TRACK_STATISTICS.for_case(does),)
    return ()


def _holds(finding: Finding, loader: LoaderFact, forecast: ForecastFact, one: SizeFact) -> Finding:
    mode = {"eval": " in eval mode", None: " in the modes its layers have"}.get(forecast.called, "")
    after = f"holds there{mode}"
    if one.single:
        from bnguard._rules.batch_size import SINGLE_SAMPLE

        count = f"{one.single:,} layers take" if one.single > 1 else "1 layer takes"
        after += f", but {count} mean and variance from that one sample ({SINGLE_SAMPLE})"
    return replace(
        finding,
        severity=Severity.NOTE,
        consequence=Consequence(after, of_model=True),
        remedies=finding.remedies if one.single or loader.mode == "eval" else (),
        model=forecast.model,
    )
