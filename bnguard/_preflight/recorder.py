"""What is seen of a script: every loader, batch and root forward; and when enough is seen."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bnguard import _private_torch as private
from bnguard._facts.models import Mode, SourceLine
from bnguard._preflight import loops
from bnguard._preflight.batches import Enumerate, Kind, Recipe, are_twins, recipe_of, sizes_of, storage_of, tensors_in
from bnguard._preflight.outcome import MOST_REFUSALS, Clock, Settings, Stop, World
from bnguard._preflight.passes import Batch, Pass, SeenLoader
from bnguard._ranks import rank_and_world_size

MOST_RECIPES = 16
"""Different calls of one model that are kept: a discriminator has two or three in a step."""

MOST_FORWARDS = 1000
"""Once the budget is used, a script that makes so many forwards without asking a loader is stopped."""


@dataclass(eq=False)
class Use:
    """What one model did with the batches of one loader, in one mode.

    Attributes:
        model: the root that the script calls.
        loader: whose batches they are; None where they are no loader's.
        mode: the root's own flag.
        modes: the flag of each module at the first call, or at the one that failed.
        sizes: samples in the batch, and how many layers took mean and variance from one sample.
        recipes: the calls of a step.
        calls: how many there were.
        trains: whether one had gradients.
        incomplete: whether it was given what may be made of batches of which some were left out.

    """

    model: nn.Module
    loader: SeenLoader | None
    mode: Mode
    modes: dict[nn.Module, bool]
    sizes: dict[int, int] = field(default_factory=dict)
    recipes: list[Recipe] = field(default_factory=list)
    calls: int = 0
    trains: bool = False
    incomplete: bool = False
    known_values: dict[tuple[int, int, int], tuple[int, ...]] = field(default_factory=dict)

    def ran(self, call: Call) -> None:
        """Note what the layers of a call that came to its end have met."""
        size = call.size
        self.sizes[size] = max(self.sizes.get(size, 0), call.single)
        if call.batch is None or self.loader is None:
            return
        key = (size, hash(call.shapes), len(call.values))
        known = self.known_values.setdefault(key, tuple(call.values))
        if known != tuple(call.values):
            self.loader.rows = "the data decide how many values a normalisation layer gets"


@dataclass(eq=False)
class Call:
    """One forward of a root model.

    Attributes:
        use: it belongs to.
        batch: that it was given, or made from.
        size: samples in that batch, or in the first argument where it is no loader's.
        step: of the epoch, or of the training where there is no loader.
        shapes: of its arguments.
        values: per channel that each BatchNorm layer was given, in order.
        single: layers that took mean and variance from one sample.

    """

    use: Use
    batch: Batch | None
    size: int
    step: int
    shapes: tuple[tuple[int, ...], ...] = ()
    values: list[int] = field(default_factory=list)
    single: int = 0

    def layer(self, module: nn.Module, given: object) -> None:
        """Note a call of a BatchNorm layer within this one."""
        if (
            isinstance(given, Tensor)
            and given.dim() > 1
            and not private.is_tracing()  # numbers taken out of a tensor would be warned of
            and (module.training or private.own_tensor(module, "running_mean") is None)
        ):
            self.values.append(given.numel() // max(1, given.shape[1]))
            self.single += given.shape[0] == 1 and self.values[-1] > 1


class Recorder:
    """Is told of every loader, batch and root forward, and raises ``Stop`` when it has seen enough.

    Args:
        settings: how long to look further.
        give_up: is called where a script goes on swallowing the stop; must not return.

    Attributes:
        loaders: every DataLoader that was iterated, in the order in which they were made.
        uses: of models with loaders, in the order in which they were first seen.
        world: this process among others.
        trained: whether a model was called in training.
        why: the reason for the stop, None as long as there was none.
        closed: whether it takes no more notice: what runs from now on is the forecast's.
        relayed: whether the stop is due to a process of the script's that has an outcome.
        on_new: is called when a loader or model is first used, while the script's frames are there.
        on_stop: is called before the stop is first raised.
        raised: the exceptions that came out of a forward, each with the call; the script may have caught them.
        latest: the last call of a root.
        in_thread: the first exception that has ended a thread.
        cuda: whether the CPU has stood in for CUDA.

    """

    def __init__(self, settings: Settings, give_up: Callable[[], object] | None = None) -> None:
        self.clock = Clock(settings)
        self.loaders: list[SeenLoader] = []
        self.uses: list[Use] = []
        self.world = World()
        self.trained = False
        self.why: str | None = None
        self.relayed = False
        self.closed = False
        self.on_new: Callable[[], object] = lambda: None
        self.on_stop: Callable[[], object] = lambda: None
        self.raised: list[tuple[Exception, Call]] = []
        self.latest: Call | None = None
        self.in_thread: BaseException | None = None
        self.cuda = False
        self._give_up = give_up
        self._refusals = 0
        self._made: WeakKeyDictionary[DataLoader[Any], tuple[int, SourceLine | None, bool]] = WeakKeyDictionary()
        self._batches = 0
        self._steps = 0
        self._since_asked = 0
        self._looking: dict[int, AbstractContextManager[Any]] = {}
        self._chosen_rows: set[int] = set()
        self._calling: SeenLoader | None = None

    @property
    def stopped(self) -> bool:
        """Whether the stop has been raised."""
        return self.why is not None

    def stop(self, why: str) -> None:
        """Raise the stop; each time that the script goes on, again, until there is no use in it."""
        if self.why is None:
            self.why = why
            self.on_stop()
        self._refusals += 1
        if self._refusals > MOST_REFUSALS and self._give_up is not None:
            self._give_up()
        raise Stop

    def _check_time(self) -> None:
        if self.why is not None:
            self.stop(self.why)
        if self.clock.late:
            self.stop("the time was over (--timeout)")

    # ------------------------------------------------------------------------------------ loaders

    def made(self, loader: DataLoader[Any], source: SourceLine | None) -> None:
        """Note a new loader; only one that is iterated is kept alive."""
        if not self.closed:
            known = any(x.dataset is loader.dataset for x in self._made)
            self._made[loader] = (len(self._made), source, self.rows_are_missing and not known)

    def forget(self, loader: DataLoader[Any]) -> None:
        """Take no more notice of a loader whose batches another one cuts anew."""
        self._made.pop(loader, None)

    def untouched(self) -> list[tuple[DataLoader[Any], SourceLine | None]]:
        """Return the loaders that the script still holds and has not iterated, nor one that goes through the same."""
        found: dict[DataLoader[Any], SourceLine | None] = {}
        for one, (_, source, _) in self._made.items():
            if not any(are_twins(one, other) for other in (*(s.loader for s in self.loaders), *found)):
                found[one] = source
        return list(found.items())

    def twins(self, loader: DataLoader[Any]) -> list[DataLoader[Any]]:
        """Return the loaders that the script still holds and that go through the same batches as this one."""
        return [x for x in self._made if x is not loader and are_twins(x, loader)]

    @property
    def rows_are_missing(self) -> bool:
        """Whether the script has gathered rows of batches of which some were left out."""
        return any(p.gathers and p.left_out for s in self.loaders for p in s.passes)

    def begun(self, loader: DataLoader[Any]) -> Pass:
        """Note a new pass over a loader, or stop where nothing new is to be expected of it in the time."""
        record = self.of(loader)
        if not self.closed:
            self._check_time()
            alike = [s for s in self.loaders if s is record or (s.source is not None and s.source == record.source)]
            passes = [p for s in alike for p in s.passes]
            if any(p.ended for p in passes):
                self.clock.begin()
            if self.clock.over and (any(p.given for p in passes) if self.trained else record.empty):
                self.stop("the time for looking further was used (--budget)")
        return Pass(record, self.clock, loops.limit_of(loader, sys._getframe(1)))

    def asked(self, run: Pass, iterator: object) -> None:
        """Note that a batch is asked for, or stop where that would go on for ever."""
        self.look_away()
        if self.closed:
            return
        self._check_time()
        self._since_asked = 0
        run.asks += 1
        run.thread = threading.get_ident()
        if run.way == "whole" and self.clock.over and run.given:
            run.unproved = run.unproved or "not all of its batches could be run within the time"
            self.stop("the time for looking further was used (--budget)")
        if not run.examined and (run.steps is None or run.given):
            run.counts = loops.doubt(sys._getframe(1), iterator)
            run.gathers = loops.gathers(sys._getframe(1))
            run.examined = True

    def gave(self, run: Pass, batch: object, place: Batch, kind: Kind) -> None:
        """Note a batch that the script gets."""
        if self.closed:
            return
        self.clock.begin()
        self._batches += 1
        before = run.left_out
        place.remember(batch, kind, self._batches)
        run.give(place, kind)
        run.record.batch_type = type(batch)
        Enumerate.left_out += run.left_out - before
        if len(run.given) == 1 and run.may_leave_out:
            self._look_at_rows()

    def _look_at_rows(self) -> None:
        """Watch the step with the batch just given: where data choose rows, batches of one size need not be alike."""

        def told(result: object) -> None:
            if self._calling is not None:
                self._calling.rows = "the data decide how many rows a layer gets (a mask in the model?)"
            self._chosen_rows |= {key for t in tensors_in(result) if (key := storage_of(t))}

        looking = self._looking[threading.get_ident()] = private.told_of_chosen_rows(told)
        looking.__enter__()

    def look_away(self) -> None:
        """End the watch of this thread: what a thread has entered no other can leave."""
        looking = self._looking.pop(threading.get_ident(), None)
        self._chosen_rows.clear()
        if looking is not None:
            looking.__exit__(None, None, None)

    def of(self, loader: DataLoader[Any]) -> SeenLoader:
        """Return what is known of a loader."""
        known = next((s for s in self.loaders if s.loader is loader), None)
        if known is None:
            made, source, incomplete = self._made.get(loader, (-1, None, False))  # -1: before we looked, or unpickled
            known = SeenLoader(loader, source, made, incomplete=incomplete)
            self.loaders.append(known)
            self.loaders.sort(key=lambda s: s.made)
            self.on_new()
        return known

    # ------------------------------------------------------------------------------------- models

    def calling(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Note a forward that is about to begin, of a module that no other module calls."""
        if self.closed or private.in_backward() or private.is_tracing():
            return None
        self._check_time()
        tensors = list(tensors_in((args, kwargs)))
        if next(itertools.chain(model.parameters(), model.buffers()), None) is None or not all(
            map(private.has_values, tensors)
        ):
            return None
        self._since_asked += 1
        if self._since_asked > MOST_FORWARDS and self.clock.over:
            self.stop("the time for looking further was used (--budget)")
        batch = self._fed_by(tensors)
        use = self._use(model, batch)
        use.calls += 1
        use.incomplete = (batch is None and model.training and self.rows_are_missing) or (
            batch is not None and batch.run.record.incomplete
        )
        self.clock.begin()
        if torch.is_grad_enabled() and model.training and any(p.requires_grad for p in model.parameters()):
            self.trained = use.trains = True
            self.world = World(*rank_and_world_size()) if self.world.rank is None else self.world
        if batch is None and self.clock.over and not any(s.passes for s in self.loaders):
            self.stop("the time for looking further was used (--budget)")
        leading = next((int(t.shape[0]) for t in tensors if t.dim()), 0)
        size = leading if batch is None or batch.size is None else batch.size
        step = self._steps + 1 if batch is None else batch.step
        self._keep(use, batch, args, kwargs)
        self.latest = Call(use, batch, size, step, tuple(map(sizes_of, tensors)))
        return self.latest

    def _fed_by(self, tensors: list[Tensor]) -> Batch | None:
        """Return the batch that a forward is given, and note where its rows need not be those of the batch."""
        batch, memory = feeding(tensors, self.loaders), {storage_of(t) for t in tensors}
        if batch is None:
            return None
        run = batch.run
        if self._looking:
            self._calling = run.record
            if self._chosen_rows & memory:
                run.record.rows = "the data decide how many rows the model gets (a mask in the loop?)"
        if batch.holds(memory):
            return batch
        batch.look_for_regrouping(tensors)
        return None if run.only_gathers else batch  # all of it was kept before: these rows are what became of it

    def _use(self, model: nn.Module, batch: Batch | None) -> Use:
        mode: Mode = "train" if model.training else "eval"
        loader = None if batch is None else batch.run.record
        for use in self.uses:
            if use.model is model and use.loader is loader and use.mode == mode:
                return use
        use = Use(model, loader, mode, flags(model))
        self.uses.append(use)
        self.on_new()
        return use

    def _keep(self, use: Use, batch: Batch | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the arguments of the first calls, for the shapes at other batch sizes."""
        if batch is None or use.calls > MOST_RECIPES or len(batch.run.given) > 2:
            return
        with contextlib.suppress(Exception):  # packed sequences, nested tensors: no shapes can be made of these
            record = batch.run.record
            recipe = recipe_of((args, kwargs), batch.size, record.batch_type, record.loader)
            if recipe is not None and recipe.signature() not in {known.signature() for known in use.recipes}:
                use.recipes.append(recipe)

    def ended(self, call: Call, error: BaseException | None) -> None:
        """Note how a forward came out."""
        self._calling = None
        if error is None:
            call.use.ran(call)
        elif isinstance(error, Exception):
            call.use.modes = flags(call.use.model)
            self.raised.append((error, call))

    def stepped(self) -> None:
        """Note an optimizer's step."""
        if not self.closed:
            self._check_time()
            self._steps += 1
            self.trained = self.trained or bool(self.uses)


def flags(model: nn.Module) -> dict[nn.Module, bool]:
    """Return the training flag of every module."""
    return {m: m.training for m in model.modules()}


def feeding(tensors: list[Tensor], loaders: Iterable[SeenLoader]) -> Batch | None:
    """Return the batch that these arguments are, or are made from; None where no loader has given one.

    The same memory is proof. Without it (the batch was moved, joined or augmented) it is the batch at hand of the
    loader that was asked last, among several loaders of one with as many samples. Where batches are fetched ahead, a
    recent one with as many samples is meant.
    """
    seen = sorted((s for s in loaders if s.recent), key=lambda s: -s.recent[-1].order)
    keys = {key for t in tensors if (key := storage_of(t))}
    for record in seen:
        for batch in reversed(record.recent):
            if batch.holds(keys):
                if batch.run.ahead is None:
                    batch.run.ahead = len(batch.run.given) - 1 - batch.run.given.index(batch)
                return batch
    leading = {int(t.shape[0]) for t in tensors if t.dim()}
    current = [b for s in seen if (b := _current(s)) is not None]
    ahead = (b for s in seen if s.recent[-1].run.fetches_ahead for b in reversed(s.recent))
    fitting = (b for b in (*current, *ahead) if b.size in leading or b.leading & leading)
    return next(fitting, current[0] if current else None)


def _current(record: SeenLoader) -> Batch | None:
    """Return the batch at hand; the first forward of a pass tells whether one is fetched ahead."""
    run = record.recent[-1].run
    if run.ahead is None:
        run.ahead = 1 if run.asks == 2 else 0
    return run.current
