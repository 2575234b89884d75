"""Several ranks' outcomes to one report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from bnguard._errors import BnguardError
from bnguard._facts.findings import Finding, Report
from bnguard._preflight.outcome import Outcome


def merged(outcomes: Sequence[Outcome]) -> Report:
    """Return one report: the first rank's, with what the others know beyond it.

    Raises:
        BnguardError: no rank has a report, or one failed while the others foresee nothing.

    """
    reports = [o.result for o in outcomes if isinstance(o.result, Report)]
    errors = [(o.rank, o.result) for o in outcomes if isinstance(o.result, BnguardError)]
    if errors and not any(not r.ok for r in reports):
        raise _of_rank(*errors[0])
    return joined(reports)


def _of_rank(rank: int | None, error: BnguardError) -> BnguardError:
    if not rank:
        return error
    return type(error)(f"rank {rank}: {error.message}", hint=error.hint, detail=error.detail)


def joined(reports: Sequence[Report]) -> Report:
    """Return one report of several on the same training: each model, loader, forecast and finding once."""
    first = reports[0]
    if len(reports) == 1:
        return first
    extra: dict[str, Any] = {}
    for report in reversed(reports):
        extra.update(report.extra)
    return replace(
        first,
        models=_once((m for r in reports for m in r.models), lambda m: m.target),
        loaders=_once((x for r in reports for x in r.loaders), lambda x: x.name),
        forecasts=_forecasts(f for r in reports for f in r.forecasts),
        suggestions=_once((s for r in reports for s in r.suggestions), lambda s: (s.loader, s.kind, s.batch_size)),
        findings=_findings(f for r in reports for f in r.findings),
        extra=extra,
    )


def _once(items: Iterable[Any], key: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any fact and what tells it apart
    found: dict[object, Any] = {}
    for item in items:
        found.setdefault(key(item), item)
    return tuple(found.values())


def _forecasts(forecasts: Iterable[Any]) -> tuple[Any, ...]:
    """Keep one forecast for each model, loader and mode: of those that stop, the one that stops first."""
    found: dict[object, Any] = {}
    for one in forecasts:
        key = (one.model, one.loader, one.mode)
        known = found.setdefault(key, one)
        if one.stops and (not known.stops or (one.step or 0) < (known.step or 0)):
            found[key] = one
    return tuple(found.values())


def _findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Keep one finding of each rule about a place; a loader's, where it depends on the model, at its most severe."""
    found: dict[object, Finding] = {}
    for one in findings:
        key = (one.code, one.model, one.layer, one.loader) if one.loader is None else (one.code, one.loader)
        known = found.setdefault(key, one)
        if one.severity > known.severity:
            found[key] = one
    return tuple(found.values())
