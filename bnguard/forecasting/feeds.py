"""What the batches of one loader do to one model: the trace at each size, the join, and the facts behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from bnguard.facts import Mode, ModelFact
from bnguard.forecast_facts import ForecastFact
from bnguard.forecasting.join import join
from bnguard.forecasting.outcomes import Outcomes
from bnguard.loader_facts import LoaderFact
from bnguard.model.inputs import Inputs
from bnguard.model.opened import Opened
from bnguard.model.scanner import model_fact
from bnguard.model.trace import Progress
from bnguard.rules.words import and_others


class Feed(NamedTuple):
    """One loader, and how the training loop calls the model with its batches.

    Attributes:
        loader: as audited.
        calls: the arguments of each call of a step, in their order; none where they are not known.
        called: what is called on the model before the epoch; None leaves every module's flag as it is.
        notes: how the calls were found.
        unknown: why they were not.

    """

    loader: LoaderFact
    calls: Sequence[Inputs]
    called: Mode | None
    notes: tuple[str, ...] = ()
    unknown: str | None = None


class Forecast(NamedTuple):
    """A forecast, the model at the batch size that decides it, and whether batches of two or more are a way out."""

    fact: ForecastFact
    model: ModelFact | None
    two_hold: bool


def foresee(model: Opened, feeds: Iterable[Feed], device: str, progress: Progress) -> Iterator[Forecast]:
    """Yield the forecast of each feed, in their order.

    Args:
        model: one subject for all of them; its mode is that of the last feed afterwards.
        feeds: may be made one by one: the model is in the mode of the last one before while the next is made.
        device: whose batch_norm backend to predict.
        progress: told before something slow.

    """
    for feed in feeds:
        model.subject.set_mode(feed.called)
        if feed.calls or feed.loader.steps == 0:  # where no batch comes, nothing need be known of the model
            yield _foreseen(model, feed, device, progress)
        else:
            yield Forecast(_not_known(model, feed), None, two_hold=False)


def _not_known(model: Opened, feed: Feed) -> ForecastFact:
    loader = feed.loader
    return ForecastFact(
        model.target,
        loader.name,
        loader.mode,
        stops=None,
        called=feed.called,
        steps=loader.steps,
        unknown=feed.unknown,
        notes=(*model.notes, *feed.notes),
    )


def _foreseen(model: Opened, feed: Feed, device: str, progress: Progress) -> Forecast:
    outcomes = Outcomes(model, feed.calls, feed.loader.world_size, progress)
    fact = join(model.target, feed.loader, outcomes.at)
    seen = _at_deciding_size(model, fact, feed, outcomes, device)
    notes = (*model.notes, *feed.notes, *fact.notes, *_woken(model, seen))
    fact = replace(fact, called=feed.called, notes=notes)
    return Forecast(fact, seen, two_hold=fact.stops is not True or outcomes.at(2).stops is False)


def _at_deciding_size(
    model: Opened, fact: ForecastFact, feed: Feed, outcomes: Outcomes, device: str
) -> ModelFact | None:
    """Return the model as it is where the epoch stops, or else at the smallest size that the epoch brings."""
    size = fact.batch_size or min((s.batch_size for s in fact.sizes), default=None)
    if size is None:
        return None
    mode = feed.called or ("train" if model.subject.model.training else "eval")
    inputs, trace = outcomes.deciding(size)
    return model_fact(model, inputs, trace, size, mode, device)


def _woken(model: Opened, seen: ModelFact | None) -> Iterator[str]:
    """Say so where layers that are frozen now would not be after ``model.train()``."""
    root = model.subject.model
    if seen is None or not root.training:
        return
    frozen = {model.prefix + x.name for x in model.subject.layers if not x.module.training}
    woken = [x for x in seen.layers if x.name in frozen and x.training]
    if woken:
        yield (
            f"{woken[0].label}{and_others(woken)} is in eval mode now, and model.train() puts it back into training "
            f"mode, which is assumed here; keep_modes=True takes the flags as they are"
        )
