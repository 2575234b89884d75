"""Layers × batches → the step at which an epoch stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Protocol

from bnguard._audit_loader.plan import EpochPlan
from bnguard._audit_loader.summary import first_with, forward_sizes, summarise
from bnguard._facts.forecasts import ForecastFact, SizeFact
from bnguard._facts.loaders import BatchPlace, LoaderFact, Stream, dimensions
from bnguard._facts.models import Mode, ModelFact
from bnguard._forecast.outcomes import Outcomes
from bnguard._forecast.report import Forecast
from bnguard._models.guess import at_smallest
from bnguard._models.inputs import Inputs
from bnguard._rules.registry import and_others
from bnguard._scan.scanner import model_fact
from bnguard._trace.models import TraceableModel
from bnguard._trace.trace import Progress

_MOST_POSSIBLE = 64
"""Where the length of an epoch is not known, every size up to the batch size is looked at, up to this one."""


def join(model: str, loader: LoaderFact, at: Callable[[int], SizeFact]) -> ForecastFact:
    """Return where the first epoch of a loader stops.

    ``at`` says what the model's forward does at a batch size; it is asked once for each size of the epoch.
    """
    if loader.epochs:
        return _epoch_by_epoch(model, loader, at)
    known = sorted({n for s in loader.streams for n in forward_sizes(s) if n}, reverse=True)
    sizes = tuple(map(at, known))
    fact = ForecastFact(model, loader.name, loader.mode, stops=False, steps=loader.steps, sizes=sizes)
    if loader.varies:
        return _drawn_at_random(fact, loader, at)
    failing = _first(loader, (s for s in sizes if s.stops))
    not_known = _first(loader, (s for s in sizes if s.stops is None))
    if failing is not None:
        return _stopping(fact, loader, failing, not_known)
    if not_known is not None:
        return replace(fact, stops=None, unknown=_why_not_known(fact, not_known))
    if loader.unknown is None:
        return fact
    return replace(fact, stops=None, unknown=loader.unknown) if loader.streams else _without_length(fact, loader, at)


def _epoch_by_epoch(model: str, loader: LoaderFact, at: Callable[[int], SizeFact]) -> ForecastFact:
    """Judge a loader whose first epochs differ: the first of them that stops, else the first one."""
    plain = replace(loader, epochs=())
    ranks = loader.streams[0].ranks if loader.streams else (0, 0)
    plans = (EpochPlan((Stream(ranks, batches),), 0) for batches in loader.epochs)
    facts = [replace(join(model, summarise(plain, plan), at), epoch=number) for number, plan in enumerate(plans, 1)]
    decided = next((i for i, fact in enumerate(facts) if fact.stops is not False), None)
    # what is not known of a later epoch is no word on the first
    return facts[decided] if decided is not None and (decided == 0 or facts[decided].stops) else facts[0]


def _drawn_at_random(fact: ForecastFact, loader: LoaderFact, at: Callable[[int], SizeFact]) -> ForecastFact:
    """Judge a loader whose sizes were seen to vary at random by every size that it can have."""
    why = f"{loader.name} draws the sizes of its batches at random"
    most = max((size.batch_size for size in fact.sizes), default=0)
    return at_any_size(replace(fact, stops=None, unknown=loader.unknown or why), loader, range(most, 0, -1), at)


def _first(loader: LoaderFact, sizes: Iterable[SizeFact]) -> BatchPlace | None:
    return first_with({s.batch_size for s in sizes}, loader.streams, loader.micro_batches, loader.replicas)


def _stopping(fact: ForecastFact, loader: LoaderFact, place: BatchPlace, not_known: BatchPlace | None) -> ForecastFact:
    stream = next(s for s in loader.streams if s.ranks[0] == place.rank)
    notes = fact.notes
    if not loader.ordered:
        notes = (*notes, "the order of the batches is drawn at random: it stops at the first of this size, at any step")
    if not_known is not None and (not_known.step, not_known.rank) < (place.step, place.rank):
        notes = (*notes, f"it may stop before that: {_why_not_known(fact, not_known)}")
    return replace(
        fact,
        stops=True,
        step=place.step if loader.ordered else None,
        steps=place.steps,
        batch_size=place.piece,
        rank=place.rank,
        ranks=stream.ranks,
        replica=place.replica,
        worker=place.worker,
        micro_batch=place.micro_batch,
        at=fact.size(place.piece),
        notes=notes,
    )


def _why_not_known(fact: ForecastFact, place: BatchPlace) -> str:
    size = fact.size(place.piece)
    why = size.unknown if size else None
    return f"at batch size {place.piece:,} (step {place.step:,} of {place.steps:,}) {why}"


def _without_length(fact: ForecastFact, loader: LoaderFact, at: Callable[[int], SizeFact]) -> ForecastFact:
    """Judge a loader whose plan is not known by the sizes that its batches can have at all."""
    most = loader.batch_size
    unknown = replace(fact, stops=None, unknown=loader.unknown)
    if most is None:
        return unknown
    return at_any_size(unknown, loader, (most,) if loader.drop_last else range(most, 0, -1), at)


def at_any_size(
    unknown: ForecastFact, loader: LoaderFact, sizes: Sequence[int], at: Callable[[int], SizeFact]
) -> ForecastFact:
    """Judge a loader that may bring any of these sizes, the largest first."""
    alone = loader.replicas == 1 and loader.micro_batches == 1
    if not sizes or not alone or sizes[0] > _MOST_POSSIBLE:
        return unknown
    possible = tuple(map(at, sizes))
    failing = [s for s in possible if s.stops]
    if all(s.stops is False for s in possible):
        span = f"{sizes[0]:,}" if len(possible) == 1 else f"1 to {sizes[0]:,}"
        note = f"the plan is not known ({unknown.unknown}), and no layer fails at any size it can have ({span})"
        return replace(unknown, stops=False, unknown=None, sizes=possible, notes=(note,))
    if failing:
        at_sizes = ", ".join(f"{s.batch_size:,}" for s in failing[-3:])
        note = f"a batch of {at_sizes}, if one comes, stops at {failing[-1].label}"
        unknown = replace(unknown, notes=(*unknown.notes, note))
    return replace(unknown, sizes=possible)


class Judged(Protocol):
    """What was read of a loader."""

    def __call__(self, model: str, at: Callable[[Inputs, int], SizeFact]) -> tuple[ForecastFact, Inputs | None]:
        """Return where the epoch stops, and the call that decides it.

        Args:
            model: its target.
            at: what the model does when it is called so at this batch size.

        """


class Feed(NamedTuple):
    """One loader, and how the training loop calls the model with its batches.

    Attributes:
        loader: as audited.
        calls: the arguments of each call of a step, in their order; none where they are not known.
        called: what is called on the model before the epoch; None leaves every module's flag as it is.
        notes: how the calls were found.
        unknown: why they were not.
        assumption: what was guessed of them.
        judged: judges the batches that were read, where the plan does not say which come.

    """

    loader: LoaderFact
    calls: Sequence[Inputs]
    called: Mode | None
    notes: tuple[str, ...] = ()
    unknown: str | None = None
    assumption: str | None = None
    judged: Judged | None = None


def foresee(model: TraceableModel, feeds: Iterable[Feed], device: str, progress: Progress) -> Iterator[Forecast]:
    """Yield the forecast of each feed, in their order.

    Args:
        model: one subject for all of them; its mode is that of the last feed afterwards.
        feeds: may be made one by one: the model is in the mode of the last one before while the next is made.
        device: whose batch_norm backend to predict.
        progress: told before something slow.

    """
    known: dict[object, _TracedModel] = {}
    for feed in feeds:
        model.tracer.set_mode(feed.called)
        if feed.judged is not None:
            yield _judged(model, feed, device, progress)
        elif feed.calls or feed.loader.steps == 0:  # where no batch comes, nothing need be known of the model
            # feeds that call the model in the same way share what is known: each size is traced once for all of them
            alike = (tuple(map(id, feed.calls)), feed.called, feed.loader.world_size)
            if alike not in known:
                known[alike] = _TracedModel(
                    model, Outcomes(model, feed.calls, feed.loader.world_size, progress), device
                )
            yield _foreseen(known[alike], feed)
        else:
            yield Forecast(_not_known(model, feed), None, two_hold=False)


@dataclass(frozen=True)
class _TracedModel:
    """What is known so far of a model that is called in one way, in one mode."""

    model: TraceableModel
    outcomes: Outcomes
    device: str
    _facts: dict[int, ModelFact] = field(default_factory=dict)

    @cached_property
    def at_smallest(self) -> tuple[tuple[Inputs, Outcomes], ...]:
        """The same calls with guessed inputs as small as they usually are, where these are larger."""
        smaller = filter(None, map(at_smallest, self.outcomes.calls))
        return tuple((inputs, replace(self.outcomes, calls=(inputs,))) for inputs in smaller)

    def fact(self, batch_size: int, called: Mode | None, *, stops: bool) -> ModelFact:
        """Return the model as it is at this batch size, with the call that decides.

        Where nothing stops any other size says as much, so that one which is known already will do.
        """
        if self._facts and not stops:
            return next(iter(self._facts.values()))
        if batch_size not in self._facts:
            mode = called or ("train" if self.model.tracer.model.training else "eval")
            inputs, trace = self.outcomes.deciding(batch_size)
            self._facts[batch_size] = model_fact(
                self.model, inputs, trace, batch_size, mode, self.device, self.outcomes.again
            )
        return self._facts[batch_size]


def _not_known(model: TraceableModel, feed: Feed) -> ForecastFact:
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


def _judged(model: TraceableModel, feed: Feed, device: str, progress: Progress) -> Forecast:
    """Return the forecast of batches that were read; each kind of them is a call of its own."""
    assert feed.judged is not None
    known: dict[int, _TracedModel] = {}

    def traced(inputs: Inputs) -> _TracedModel:
        if id(inputs) not in known:
            outcomes = Outcomes(model, (inputs,), feed.loader.world_size, progress)
            known[id(inputs)] = _TracedModel(model, outcomes, device)
        return known[id(inputs)]

    fact, deciding = feed.judged(model.target, lambda inputs, size: traced(inputs).outcomes.at(size))
    if deciding is None:
        return Forecast(replace(fact, called=feed.called, notes=(*model.notes, *feed.notes, *fact.notes)), None, False)
    return _with_model(traced(deciding), feed, fact)


def _foreseen(known: _TracedModel, feed: Feed) -> Forecast:
    fact = join(known.model.target, feed.loader, known.outcomes.at)
    if feed.assumption is not None:
        fact = _of_guessed_size(fact.assuming(feed.assumption), known)
    rows = next((n for call in feed.calls if (n := getattr(call, "own_rows", None))), None)
    if rows is not None and fact.size(1) is not None:
        fact = _of_as_many_rows(rows, fact, known, feed.called)
    return _with_model(known, feed, fact)


def _with_model(known: _TracedModel, feed: Feed, fact: ForecastFact) -> Forecast:
    model, outcomes = known.model, known.outcomes
    # where the epoch stops, or else at the smallest size that it brings
    size = fact.batch_size or min((s.batch_size for s in fact.sizes), default=None)
    seen = None if size is None else known.fact(size, feed.called, stops=fact.stops is True)
    notes = (*model.notes, *feed.notes, *fact.notes, *_layers_put_into_training(model, seen))
    fact = replace(fact, called=feed.called, notes=notes)
    return Forecast(fact, seen, two_hold=fact.stops is not True or outcomes.at(2).stops is False)


def _of_guessed_size(fact: ForecastFact, known: _TracedModel) -> ForecastFact:
    """Tell both cases where a smaller input than the guessed one would stop the epoch."""
    if fact.stops is not False:
        return fact
    for inputs, outcomes in known.at_smallest:
        stopping = next((s for s in map(outcomes.at, (s.batch_size for s in fact.sizes)) if s.stops), None)
        if stopping is not None:
            both = (
                f"it does not stop with the assumed {fact.assumption}, and stops at {stopping.label} with "
                f"{dimensions(inputs.facts(1)[0].shape[1:])}, at batch size {stopping.batch_size:,}"
            )
            return replace(fact, stops=None, unknown=both)
    return fact


def _of_as_many_rows(rows: int, fact: ForecastFact, known: _TracedModel, called: Mode | None) -> ForecastFact:
    """Say what hangs on the rows of a lone sample, where each has a number of its own, such as the nodes of a graph.

    A layer over rows stops where the sample has one; a layer after pooling sees one row whatever their number.
    """
    assumption = f"{rows} node{'s' * (rows != 1)} in the lone graph, as in the first one"
    if fact.stops and fact.batch_size == 1 and rows == 1:
        return fact.assuming(assumption)
    if fact.stops is not False:
        return fact
    seen = known.fact(1, called, stops=True)
    calls = ((x, c) for x in seen.layers for c in x.calls if c.batch_statistics and c.shape and c.shape[0] == rows)
    over_rows = next((x for x, call in calls if call.values_per_statistic == rows), None)
    if over_rows is None:
        return fact
    both = f"it does not stop with {assumption}, and stops at {over_rows.label} where that graph has one node"
    return replace(fact.assuming(assumption), stops=None, unknown=both)


def _layers_put_into_training(model: TraceableModel, seen: ModelFact | None) -> Iterator[str]:
    """Say so where layers that are frozen now would not be after ``model.train()``."""
    root = model.tracer.model
    if seen is None or not root.training:
        return
    frozen = {x.name for x in model.tracer.layers if not x.module.training}
    put_back = [x for x in seen.layers if x.name in frozen and x.training]
    if put_back:
        yield (
            f"{put_back[0].label}{and_others(put_back)} is in eval mode now, and model.train() puts it back into "
            f"training mode, which is assumed here; keep_modes=True takes the flags as they are"
        )
