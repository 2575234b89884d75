"""What the batches of one loader do to one model: the trace at each size, the join, and the facts behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bnguard.facts import Mode, ModelFact
from bnguard.forecast_facts import ForecastFact
from bnguard.forecasting.join import join
from bnguard.forecasting.outcomes import Outcomes
from bnguard.forecasting.reporting import Forecast
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


def foresee(model: Opened, feeds: Iterable[Feed], device: str, progress: Progress) -> Iterator[Forecast]:
    """Yield the forecast of each feed, in their order.

    Args:
        model: one subject for all of them; its mode is that of the last feed afterwards.
        feeds: may be made one by one: the model is in the mode of the last one before while the next is made.
        device: whose batch_norm backend to predict.
        progress: told before something slow.

    """
    known: dict[object, _Known] = {}
    for feed in feeds:
        model.subject.set_mode(feed.called)
        if feed.calls or feed.loader.steps == 0:  # where no batch comes, nothing need be known of the model
            # feeds that call the model in the same way share what is known: each size is traced once for all of them
            alike = (tuple(map(id, feed.calls)), feed.called, feed.loader.world_size)
            if alike not in known:
                known[alike] = _Known(model, Outcomes(model, feed.calls, feed.loader.world_size, progress), device)
            yield _foreseen(known[alike], feed)
        else:
            yield Forecast(_not_known(model, feed), None, two_hold=False)


@dataclass(frozen=True)
class _Known:
    """What is known so far of a model that is called in one way, in one mode."""

    model: Opened
    outcomes: Outcomes
    device: str
    _facts: dict[int, ModelFact] = field(default_factory=dict)

    def fact(self, batch_size: int, called: Mode | None, *, stops: bool) -> ModelFact:
        """Return the model as it is at this batch size, with the call that decides.

        Where nothing stops any other size says as much, so that one which is known already will do.
        """
        if self._facts and not stops:
            return next(iter(self._facts.values()))
        if batch_size not in self._facts:
            mode = called or ("train" if self.model.subject.model.training else "eval")
            inputs, trace = self.outcomes.deciding(batch_size)
            self._facts[batch_size] = model_fact(
                self.model, inputs, trace, batch_size, mode, self.device, self.outcomes.again
            )
        return self._facts[batch_size]


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


def _foreseen(known: _Known, feed: Feed) -> Forecast:
    model, outcomes = known.model, known.outcomes
    fact = join(model.target, feed.loader, outcomes.at)
    # where the epoch stops, or else at the smallest size that it brings
    size = fact.batch_size or min((s.batch_size for s in fact.sizes), default=None)
    seen = None if size is None else known.fact(size, feed.called, stops=fact.stops is True)
    notes = (*model.notes, *feed.notes, *fact.notes, *_woken(model, seen))
    fact = replace(fact, called=feed.called, notes=notes)
    return Forecast(fact, seen, two_hold=fact.stops is not True or outcomes.at(2).stops is False)


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
