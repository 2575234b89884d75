"""An epoch as it was read, batch by batch: what each kind of batch does to the model, and where training stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, NamedTuple

from bnguard._audit_loader.plan import EpochPlan, runs
from bnguard._audit_loader.reading import Epoch, Kind, Reading
from bnguard._audit_loader.summary import summarise
from bnguard._facts.forecasts import ForecastFact, SizeFact
from bnguard._facts.loaders import LoaderFact, Stream
from bnguard._facts.models import Mode
from bnguard._forecast.batch_inputs import BatchInputs, narrowed
from bnguard._forecast.join import Feed, Judged, at_any_size
from bnguard._models.inputs import Inputs

# --------------------------------------------------------------------------------------- the plan, and what was read


def planned_kinds(reading: Reading, loader: LoaderFact) -> dict[int, Kind] | None:
    """Return the kind of batch that each planned size is, None where something else than planned has come.

    Every epoch that was read has the planned number of batches, and those of one size are of one kind.
    """
    if reading.unfinished or loader.unknown or loader.varies or not loader.ordered or len(loader.streams) != 1:
        return None
    runs_of = loader.epochs[0] if loader.epochs else loader.streams[0].batches
    steps = sum(count for _, count in runs_of)
    if any(epoch.error or len(epoch.kinds) != steps for epoch in reading.epochs):
        return None
    sizes = [size for size, count in runs_of for _ in range(count)]
    found: dict[int, Kind] = {}
    for epoch in reading.epochs:
        for size, kind in zip(sizes, epoch.kinds, strict=True):
            if found.setdefault(size, kind) != kind:
                return None
    return found


def as_read(loader: LoaderFact, reading: Reading) -> LoaderFact:
    """Return the loader with the batches that came, where these are the same each time it is read."""
    first, *others = reading.epochs or (None,)
    if first is None or reading.unfinished or first.error or any(other != first for other in others):
        return loader
    if loader.world_size > 1 or (reading.drawn and not others):
        return loader
    stream = Stream((0, 0), runs(*((kind.rows, 1) for kind in first.kinds)))
    plain = replace(loader, samples=stream.total, unknown=None, epochs=(), varies=False, ordered=True)
    return replace(summarise(plain, EpochPlan((stream,), 0)), unused=None)


# -------------------------------------------------------------------------------------------------- where it stops


class _Walk(NamedTuple):
    """Where an epoch stops, and what is not known before that."""

    step: int | None = None
    at: SizeFact | None = None
    unknown: str | None = None

    @property
    def place(self) -> tuple[int, str | None] | None:
        """The step and the layer, None where it does not stop."""
        return None if self.step is None or self.at is None else (self.step, self.at.layer)


@dataclass(frozen=True)
class EpochJudge:
    """Judges what was read of one loader with one model.

    Args:
        loader: as audited.
        reading: of it.
        at: what the model does with a kind of batch.
        at_least: what it does with a number of the smallest rows that there can be; None where that is not known.
        harmless: whether the model has no layer that could stop at any size.

    """

    loader: LoaderFact
    reading: Reading
    at: Callable[[Kind], SizeFact]
    at_least: Callable[[int], SizeFact] | None
    harmless: bool = False

    def judge(self, model: str) -> ForecastFact:
        """Return where the first epoch stops."""
        epochs = self.reading.epochs
        fact = ForecastFact(model, self.loader.name, self.loader.mode, stops=False, sizes=self._sizes())
        if len({len(epoch.kinds) for epoch in epochs}) == 1 and not self.reading.unfinished:
            fact = replace(fact, steps=len(epochs[0].kinds))
        walks = [self._walk(epoch) for epoch in epochs]
        if self.loader.replicas > 1 or self.loader.micro_batches > 1:
            return replace(fact, stops=None, unknown=f"{self.reading.why}, before they are divided")
        if self.reading.unfinished or not epochs:
            return self._not_known(fact, f"{self.reading.why}, and {self.reading.unfinished}")
        if self._at_the_same_place(walks):
            return self._stopping(fact, walks[0])
        if self._the_same(epochs):
            return self._of_one(fact, walks[0])
        if self._the_same_in_other_order(epochs) and not any(walk.unknown for walk in walks):
            return self._of_any_order(fact, walks)
        seen = self._seen(walks)
        return self._not_known(fact, f"{self.reading.why}, and not the same each time it is read{seen}")

    def _walk(self, epoch: Epoch) -> _Walk:
        unknown = None
        for step, kind in enumerate(epoch.kinds, 1):
            size = self.at(kind)
            if size.stops:
                return _Walk(step, size, unknown)
            if size.stops is None:
                unknown = (
                    unknown or f"at step {step:,} of {len(epoch.kinds):,} (batch size {kind.rows:,}) {size.unknown}"
                )
        if epoch.error:
            unknown = unknown or f"the loader itself raises {epoch.error} at step {len(epoch.kinds) + 1:,}"
        return _Walk(None, None, unknown)

    def _sizes(self) -> tuple[SizeFact, ...]:
        found: dict[int, SizeFact] = {}
        for kind in self.reading.batches:
            size = self.at(kind)
            if kind.rows and (kind.rows not in found or found[kind.rows].stops is False):
                found[kind.rows] = size
        return tuple(found[rows] for rows in sorted(found, reverse=True))

    def _at_the_same_place(self, walks: Sequence[_Walk]) -> bool:
        known = walks[0].step is not None and not any(walk.unknown for walk in walks)
        again = len(walks) > 1 or not self.reading.drawn
        always = self.reading.empty is None and not any(epoch.error for epoch in self.reading.epochs)
        return known and again and always and all(walk.place == walks[0].place for walk in walks)

    def _the_same(self, epochs: Sequence[Epoch]) -> bool:
        return not (self.reading.drawn and len(epochs) == 1) and all(epoch == epochs[0] for epoch in epochs)

    def _the_same_in_other_order(self, epochs: Sequence[Epoch]) -> bool:
        return len(epochs) > 1 and all(Counter(e.kinds) == Counter(epochs[0].kinds) for e in epochs)

    def _of_one(self, fact: ForecastFact, walk: _Walk) -> ForecastFact:
        if walk.step is not None:
            return self._stopping(fact, walk)
        if walk.unknown is not None:
            return replace(fact, stops=None, unknown=walk.unknown)
        if self.loader.world_size > 1:
            why = f"{self.reading.why}, and one rank of {self.loader.world_size:,} was read"
            return self._not_known(fact, why)
        return fact

    def _of_any_order(self, fact: ForecastFact, walks: Sequence[_Walk]) -> ForecastFact:
        if walks[0].at is None:
            return self._of_one(fact, walks[0])
        if len({walk.at.layer for walk in walks if walk.at}) > 1:
            return self._not_known(fact, f"the order of the batches is drawn at random{self._seen(walks)}")
        note = f"the order of the batches is drawn at random{self._seen(walks)}"
        return replace(self._stopping(fact, walks[0]), step=None, notes=(note,))

    def _stopping(self, fact: ForecastFact, walk: _Walk) -> ForecastFact:
        assert walk.at is not None
        rank = next((stream.ranks[0] for stream in self.loader.streams), 0) if self.loader.world_size == 1 else None
        return replace(
            fact,
            stops=True,
            step=walk.step,
            batch_size=walk.at.batch_size,
            rank=rank,
            ranks=None if rank is None else (rank, rank),
            at=walk.at,
            notes=() if walk.unknown is None else (f"it may stop before that: {walk.unknown}",),
        )

    def _not_known(self, fact: ForecastFact, why: str) -> ForecastFact:
        unknown = replace(fact, stops=None, unknown=why, notes=tuple(_by_the_sampler(self.loader)))
        if any(size.stops is not False for size in fact.sizes) or any(e.error for e in self.reading.epochs):
            return unknown
        if self.reading.empty is not None:
            note = f"where no sample of a batch is left, the loader itself raises {self.reading.empty}"
            return replace(unknown, notes=(*unknown.notes, note))
        if self.harmless:
            note = f"the plan is not known ({why}), and the model has no layer that a batch size could break"
            return replace(fact, stops=False, notes=(note,))
        if self.at_least is None:
            return unknown
        most = max((size.batch_size for size in fact.sizes), default=self.loader.batch_size or 0)
        return replace(at_any_size(unknown, self.loader, range(most, 0, -1), self.at_least), sizes=fact.sizes)

    def _seen(self, walks: Sequence[_Walk]) -> str:
        stopped = [walk for walk in walks if walk.step is not None]
        if not stopped:
            return ""
        steps = sorted({walk.step for walk in stopped if walk.step is not None})
        shown = ", ".join(f"{step:,}" for step in steps[:4])
        return f": it stopped in {len(stopped):,} of {len(walks):,} epochs, at step {shown}"


class ReadInputs(NamedTuple):
    """How the model is called with each kind of batch, and with the least that may come."""

    of: Mapping[Kind, Inputs]
    least: Inputs | None
    harmless: bool = False


def judged(loader: LoaderFact, reading: Reading, calls: ReadInputs) -> Judged:
    """Return what judges the batches that were read of a loader."""

    def judge(model: str, at: Callable[[Inputs, int], SizeFact]) -> tuple[ForecastFact, Inputs | None]:
        least = calls.least
        fact = EpochJudge(
            loader,
            reading,
            lambda kind: at(calls.of[kind], kind.rows),
            None if least is None else lambda rows: at(least, rows),
            calls.harmless,
        ).judge(model)
        wanted = fact.batch_size or min((size.batch_size for size in fact.sizes), default=None)
        return fact, next(
            (calls.of[kind] for kind in calls.of if _is(kind, wanted, fact, at(calls.of[kind], kind.rows))), None
        )

    return judge


def feed_of(
    loader: LoaderFact,
    reading: Reading,
    given: Sequence[Inputs],
    called: Mode | None,
    find: Callable[[Mapping[Kind, Any]], tuple[BatchInputs, bool] | str],
) -> Feed:
    """Return how a model is called with what was read: by the plan where that is what came.

    Args:
        loader: as audited, or with the batches that came.
        reading: of it.
        given: the user's word on the input, if there is one.
        called: what is called on the model before the epoch.
        find: finds how the model is called with such batches, and whether no layer could stop, or says why it is not.

    """
    notes = tuple(words_on(reading, loader.name))
    planned = planned_kinds(reading, loader)
    if planned is not None:
        loader = _of_known_sizes(loader, planned)
    if given:
        if planned is not None and all(kind.rows == size for size, kind in planned.items()):
            return Feed(loader, given, called, notes)
        calls = ReadInputs(dict.fromkeys(reading.batches, given[0]), given[0])
        return Feed(loader, (), called, notes, judged=judged(loader, reading, calls))
    if not reading.batches:
        return Feed(loader, (), called, notes, judged=judged(loader, reading, ReadInputs({}, None)))
    way = find(reading.batches)
    if isinstance(way, str):
        return Feed(loader, (), called, notes, way)
    found, harmless = way
    notes = (*notes, f"the forward gets {found.shown()} of each")
    if planned:
        whole = replace(found, batches={size: reading.batches[kind] for size, kind in planned.items()})
        return Feed(loader, (whole,), called, notes)
    of = {kind: replace(found, batches={kind.rows: batch}) for kind, batch in reading.batches.items()}
    calls = ReadInputs(of, narrowed(list(of.values())), harmless)
    return Feed(loader, (), called, notes, judged=judged(loader, reading, calls))


def _of_known_sizes(loader: LoaderFact, planned: Mapping[int, Kind]) -> LoaderFact:
    """Leave out epochs with sizes that were not read: what becomes of those is not for the sampler to say."""
    known = takewhile(lambda batches: all(size in planned for size, _ in batches), loader.epochs)
    return replace(loader, epochs=tuple(known))


def _by_the_sampler(loader: LoaderFact) -> Iterator[str]:
    """Say what the plan would mean, where what came was not read to its end or differs."""
    single = loader.first_single
    if loader.streams and loader.unknown is None:
        comes = f"comes at step {single.step:,} of {single.steps:,}" if single else "never comes"
        yield f"if it keeps the samples that its sampler gives it, a batch of one {comes}"


def _is(kind: Kind, wanted: int | None, fact: ForecastFact, size: SizeFact) -> bool:
    return kind.rows == wanted and (fact.at is None or size == fact.at)


def words_on(reading: Reading, name: str) -> Iterator[str]:
    """Yield what the reader should know of how the batches were found."""
    if reading.epochs:
        batches = sum(len(epoch.kinds) for epoch in reading.epochs)
        times = f" in {len(reading.epochs):,} epochs" if len(reading.epochs) > 1 else ""
        yield f"{batches:,} batches of {name} were read{times}, as {reading.why}"
