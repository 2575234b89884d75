"""A rule about a lone sample, with the model in view: what is an error before one model is a note before another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bnguard.findings import Finding, Severity
from bnguard.rules.words import what

if TYPE_CHECKING:
    from bnguard.forecast_facts import ForecastFact, SizeFact
    from bnguard.loader_facts import LoaderFact
    from bnguard.rules.registry import ForecastCheck, LoaderCheck, Rule

AFTER_EVAL = ": safe only after model.eval()"
"""What is said of an evaluation loader as long as no model is in view."""


def with_model(check: LoaderCheck) -> ForecastCheck:
    """Return a check that says what ``check`` says, as grave as it is for the model at hand."""

    def judged(loader: LoaderFact, forecast: ForecastFact, rule: Rule) -> Iterator[Finding]:
        for finding in check(loader, rule):
            yield _in_view(finding, loader, forecast)

    return judged


def _in_view(finding: Finding, loader: LoaderFact, forecast: ForecastFact) -> Finding:
    one, lone = forecast.size(1), loader.first_single
    if one is None or one.stops is None:
        return finding
    if one.stops and not forecast.stops:  # whether that batch comes is not known
        return finding
    said = finding.message.removesuffix(AFTER_EVAL)
    if not one.stops:
        return _holds(finding, said, loader, forecast, one)
    if lone is not None and (lone.step, lone.rank) != (forecast.step, forecast.rank):
        message = f"{said}; it does not come to that, as the epoch stops at step {forecast.step:,}"
        return replace(finding, severity=Severity.NOTE, message=message, fix=None, model=forecast.model)
    return _fails(finding, said, loader, forecast, one)


def _fails(finding: Finding, said: str, loader: LoaderFact, forecast: ForecastFact, one: SizeFact) -> Finding:
    layer = what(one.label, one.layer_type, one.num_features)
    end = f"{'training' if loader.mode == 'train' else 'evaluation'} stops"
    more = len(one.failing) - 1
    if more > 0:
        end += f" ({more:,} more layer{'s' * (more > 1)} would fail there as well)"
    return replace(
        finding,
        severity=Severity.ERROR,
        message=f"{said}, and {layer} {one.sees} there: {end}",
        fix=_remedy(one, loader) or finding.fix,
        model=forecast.model,
        layer=one.layer,
        location=one.source,
    )


def _remedy(one: SizeFact, loader: LoaderFact) -> str | None:
    """Return what helps where the model is to blame rather than the loader, else None."""
    if one.cause == "lost-dimension":
        from bnguard.rules.batch_size import KEEP_THE_BATCH

        return KEEP_THE_BATCH
    if loader.mode == "eval" and one.per == "channel":
        return f"let {one.label} keep running statistics (track_running_stats=True) and be in eval mode here"
    return None


def _holds(finding: Finding, said: str, loader: LoaderFact, forecast: ForecastFact, one: SizeFact) -> Finding:
    mode = {"eval": " in eval mode", None: " in the modes its layers have"}.get(forecast.called, "")
    message = f"{said}; {forecast.model} holds there{mode}"
    if one.single:
        count = f"{one.single:,} layers take" if one.single > 1 else "1 layer takes"
        message += f", but {count} mean and variance from that one sample (BN102)"
    helps = one.single or loader.mode == "eval"
    return replace(
        finding, severity=Severity.NOTE, message=message, fix=finding.fix if helps else None, model=forecast.model
    )
