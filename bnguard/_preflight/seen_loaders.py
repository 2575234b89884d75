"""From the loaders that were seen to facts: their batches by law, or else those that they gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

from torch import nn
from torch.utils.data import DataLoader

from bnguard._audit_loader.foreign import CutElsewhere
from bnguard._audit_loader.live import LiveRequest, audit_live
from bnguard._audit_loader.plan import EpochPlan, Setup, runs
from bnguard._audit_loader.summary import noted, summarise
from bnguard._errors import BnguardError
from bnguard._facts.loaders import LoaderFact, Runs, Suggestion
from bnguard._facts.models import Mode
from bnguard._preflight.batches import counted
from bnguard._preflight.loops.limits import Limit
from bnguard._preflight.passes import SeenLoader
from bnguard._preflight.recorder import Use

MOST_SECONDS = 30.0
"""A stream that stopped half-way is read anew for no longer than this, to say how many steps its epoch has."""


class Audit(NamedTuple):
    """What is known of a loader's batches, and the ways out."""

    fact: LoaderFact
    suggestions: Sequence[Suggestion]


def audit(record: SeenLoader, uses: Sequence[Use], name: str, variable: str | None, devices: int = 1) -> Audit | None:
    """Return what is known of a loader's batches by law, or else by what it has given; None where nothing is.

    Args:
        record: the loader.
        uses: of models with it.
        name: of the loader in the report.
        variable: what a line of the script may call it, None if not known.
        devices: over which DataParallel spreads the batches, where it has not found any here.

    """
    if record.incomplete:
        return None
    mine = [use for use in uses if use.loader is record]
    setup = Setup(1, replicas=max((devices, *(_replicas(use.model) for use in mine))))
    mode: Mode = "train" if any(use.mode == "train" for use in mine) else "eval"
    try:
        found = audit_live(_stand_in(record) or record.loader, LiveRequest(setup, (name,), (), mode, variable=variable))
    except BnguardError:
        return None
    (fact,) = found.loaders
    limit = record.longest.limit
    if limit is not None:
        fact = _cut(fact, limit)
    fact = replace(fact, source=record.source)
    return Audit(fact, found.suggestions if fact.first_single else ())


def _replicas(model: nn.Module) -> int:
    return max(1, len(model.device_ids)) if isinstance(model, nn.DataParallel) else 1


def _cut(fact: LoaderFact, limit: Limit) -> LoaderFact:
    """Return the fact with as many batches as the trainer takes."""
    streams = tuple(replace(s, batches=_first(limit.batches, s.batches)) for s in fact.streams)
    if streams and fact.workers == 0:
        fact = replace(summarise(fact, EpochPlan(streams, 0)), unused=None)
    return noted(fact, f"{limit.who} takes {limit.batches:,} of its batches in an epoch")


def _first(count: int, batches: Runs) -> Runs:
    cut = []
    for size, many in batches:
        cut.append((size, min(many, count)))
        count -= cut[-1][1]
    return runs(*cut)


def _stand_in(record: SeenLoader) -> DataLoader[Any] | None:
    """Return a loader that has the sizes of the first epoch by law, where only fetching its batches has told them."""
    run = record.passes[0]
    sizes = run.fetched_sizes()
    if sizes is None and run.is_stream and not run.all_read:
        sizes = counted(record.loader, min(run.clock.settings.budget, MOST_SECONDS))
    if sizes is None:
        return None
    batches = [list(range(end - size, end)) for size, end in zip(sizes, accumulate(sizes), strict=True)]
    is_cut_by_loader = run.is_stream and record.loader.batch_size is not None
    data: Any = range(sum(sizes)) if is_cut_by_loader else CutElsewhere(sum(sizes))
    return DataLoader(data, batch_sampler=batches)
