"""Which batches of an epoch are given: the first, one of each other size, the last; what lies between is left out."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, field
from itertools import islice, pairwise
from statistics import median
from typing import Any, Literal
from weakref import ReferenceType, ref

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate, default_convert

from bnguard import _private_torch as private
from bnguard._audit_loader.follow import fetches_lists
from bnguard._audit_loader.foreign import Dealt
from bnguard._facts.models import SourceLine
from bnguard._preflight.batches import MOST_TENSORS, Kind, batch_size_of, storage_of, tensors_in
from bnguard._preflight.loops.limits import Limit
from bnguard._preflight.outcome import Clock

SHARE = 0.5
"""Of the budget, which epochs that are run as they are may take together: what a script does is best seen so."""

PREFIX = 8
"""Batches of a longer epoch that are run before some are left out: they show whether batches of one size differ."""

PATIENCE = 2.0
"""Seconds after which fewer of them will do."""

MOST_SIZES = 8
"""Sizes of which one batch is given in each epoch after the first, the smallest ones."""

MOST_SECONDS_OF_INDICES = 10.0
"""A sampler that has not ended after this time is taken for one that never does."""

Way = Literal["indices", "fetched", "whole"]
"""How batches are left out: by their indices, after they were fetched and looked at, or not at all."""


@dataclass(eq=False)
class Batch:
    """One batch as it was given.

    Attributes:
        run: the pass it belongs to.
        step: its place in the true epoch, from 1.
        size: samples in it; None where that is not known.
        order: when it came, counted over all loaders.
        leading: the first dimensions of its tensors.
        memory: where its tensors lie; they are not kept alive.

    """

    run: Pass
    step: int
    size: int | None
    order: int = 0
    leading: frozenset[int] = frozenset()
    memory: list[tuple[int, ReferenceType[Tensor]]] = field(default_factory=list)

    def remember(self, batch: object, kind: Kind, order: int) -> None:
        """Note what the batch holds as it is given."""
        self.order = order
        self.leading = frozenset(kind.leading)
        tensors = list(tensors_in(batch))[:MOST_TENSORS]
        self.memory = [(key, ref(t)) for t in tensors if (key := storage_of(t))]

    def holds(self, keys: set[int]) -> bool:
        """Whether one of these storages is that of one of its tensors."""
        return any(key in keys and alive() is not None for key, alive in self.memory)

    def look_for_regrouping(self, tensors: list[Tensor]) -> None:
        """Note it where a model that gets these, not in this batch's memory, gets batches that were cut anew."""
        run, asked = self.run, self.run.asks - self.run.used
        several = asked > (1 if run.used else 2) and run.thread == threading.get_ident()  # one may be fetched ahead
        run.used = run.asks
        rows = {len(tensors), *(int(t.shape[0]) for t in tensors if t.dim())}
        odd = self.size and not any(n > 1 and not (n % self.size and self.size % n) for n in rows)
        if several or (odd and all(self.size not in t.shape[:2] for t in tensors)):
            run.record.rows = "the model gets other batches than the loader gives"
            run.record.incomplete = run.record.incomplete or run.left_out > 0


@dataclass(eq=False)
class SeenLoader:
    """A DataLoader of the script, and how it was passed over.

    Attributes:
        loader: kept alive, since its batches are counted after the script has ended.
        source: the user's line that made it, None if not known.
        made: how many loaders were made before it.
        passes: over it, in their order.
        recent: its latest batches.
        incomplete: whether its data may be made of batches of which some were left out.
        rows: why batches of one size need not have as many rows in the model, None as long as nothing says so.
        batch_type: of its batches.

    """

    loader: DataLoader[Any]
    source: SourceLine | None
    made: int = 0
    passes: list[Pass] = field(default_factory=list)
    recent: deque[Batch] = field(default_factory=lambda: deque(maxlen=64))
    incomplete: bool = False
    rows: str | None = None
    batch_type: type = object

    @property
    def longest(self) -> Pass:
        """The pass of which the most batches would be taken: a trainer may look at a few first."""
        return max(self.passes, key=lambda p: p.steps or 0)

    @property
    def empty(self) -> bool:
        """Whether the script asked it for batches, and there was none."""
        return bool(self.passes) and all(p.ended and not p.given for p in self.passes)

    @property
    def left_out(self) -> int:
        """How many batches were left out in all passes."""
        return sum(p.left_out for p in self.passes)

    @property
    def unproved(self) -> str | None:
        """Why what was left out may matter, None where it cannot."""
        return next((p.unproved for p in self.passes if p.unproved), None)


class Pass:
    """One pass over a loader.

    Attributes:
        record: the loader's.
        limit: how many batches a trainer takes of it, None where it takes all.
        way: how batches are left out.
        sizes: of all batches of the true epoch that are known so far, in their order.
        all_read: whether that is all of them.
        given: the batches that the script got.
        ended: whether it has asked for one more, and there was none.
        left_out: batches that it did not get.
        examined: whether the script's loop was looked at.
        counts: why the script may do something else at a batch that is left out, or end before.
        gathers: whether the script keeps rows of the batches.
        unproved: why what was left out may matter.
        asks: how often the script has asked for a batch.
        used: that number at the last forward whose arguments were not the batch's own memory.
        ahead: how many batches more than it uses it has asked for.
        thread: that asks.

    """

    def __init__(self, record: SeenLoader, clock: Clock, limit: Limit | None = None) -> None:
        length = _length(record.loader)
        self.record = record
        self.limit = None if limit is None or (length is not None and limit.batches >= length) else limit
        self.clock = clock
        self.number = len(record.passes) + 1
        self.way, self._why = way_of(record.loader)
        self.expected = length if self.limit is None or length is None else self.limit.batches
        self.sizes: list[int | None] = []
        self.all_read = False
        self.given: list[Batch] = []
        self.ended = False
        self.left_out = 0
        self.examined = False
        self.counts: str | None = None
        self.gathers = False
        self.unproved: str | None = None
        self.asks = self.used = 0
        self.ahead: int | None = None
        self.thread = 0
        self._began = time.monotonic()
        self._times: deque[float] = deque(maxlen=2 * PREFIX)
        self._chosen: list[tuple[int, int | None]] = []
        self._fetched = 0
        self._rows: list[int | None] = []
        self._held: tuple[Any, Batch, Kind] | None = None
        self._smallest: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._by_size: dict[int, Kind] = {}
        record.passes.append(self)

    # -------------------------------------------------------------------------------- what is known

    @property
    def steps(self) -> int | None:
        """How many batches the true epoch has; None where that is not known."""
        return len(self.sizes) if self.all_read else self.expected

    def fetched_sizes(self) -> list[int] | None:
        """Return the sizes of all batches, where fetching told something else than the indices; else None."""
        if self.way == "indices" or not self.all_read or not self.ended or None in self._rows:
            return None
        rows = [n for n in self._rows if n is not None]
        return None if rows == self.sizes and not self.is_stream else rows

    @property
    def is_stream(self) -> bool:
        """Whether the dataset is iterated, so that no index says what comes."""
        return isinstance(self.record.loader.dataset, IterableDataset)

    @property
    def fetches_ahead(self) -> bool:
        """Whether batches are fetched before the one at hand is used, or on a thread of their own."""
        return bool(self.ahead) or self.thread != threading.get_ident()

    @property
    def only_gathers(self) -> bool:
        """Whether its loop is over and has kept rows, and no thread hands them on as batches."""
        return self.ended and self.gathers and not self.fetches_ahead

    @property
    def current(self) -> Batch | None:
        """The batch that the script is at, where it fetches some ahead not the latest."""
        index = self.asks - 1 - (self.ahead or 0)
        return self.given[max(0, min(index, len(self.given) - 1))] if self.given else None

    # ------------------------------------------------------------------------------ what is left out

    @property
    def may_leave_out(self) -> bool:
        """Whether batches may come to be left out, and no earlier pass has shown whether the data choose rows."""
        return self.way != "whole" and self.number == 1

    def enough(self, count: int) -> bool:
        """Whether the batches between may be left out, after so many were given."""
        if not count or self.way == "whole" or not (self.examined or self.clock.over):
            return False
        doubt = self.counts or self.record.rows or ("" if self.clock.settings.whole else None)
        if doubt is not None:
            if self.clock.over:
                self.unproved = doubt or "not all batches could be run within the time"
            return self.clock.over
        return (count >= PREFIX or time.monotonic() - self._began > PATIENCE) and not self._fits(count)

    def _fits(self, count: int) -> bool:
        """Whether the rest of the epoch can be run within the share of the budget, going by a usual step until now."""
        left = self.clock.settings.budget * SHARE - self.clock.spent
        if self.expected is None or len(self._times) < 2:
            return left > 0
        usual = median(after - before for before, after in pairwise(self._times))
        return (self.expected - count) * usual < left

    def choose(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the indices of the batches that are given, of those that the loader's sampler yields."""
        batches = batches if self.limit is None else islice(batches, self.limit.batches)
        for indices in batches:
            self.sizes.append(_count(indices))
            if self.enough(len(self._chosen)) and (self.way == "indices" or self._in_a_hurry()):
                yield from self._of_each_kind(indices, batches)
                break
            self._chosen.append((len(self.sizes), self.sizes[-1]))
            yield indices
        if not self.is_stream:
            self.all_read = True

    def _in_a_hurry(self) -> bool:
        if self.way != "fetched" or self.is_stream or not self.clock.over:
            return False
        self.unproved = self.unproved or self._why
        return True

    def _of_each_kind(self, indices: Any, batches: Iterator[Any]) -> Iterator[Any]:  # noqa: ANN401 - a sampler's own
        """Read the rest of the indices, and yield the first of each size not yet given, and the last."""
        known = {size for _, size in self._chosen}
        first: dict[int | None, tuple[int, Any]] = {}
        last = (len(self.sizes), indices)
        began = time.monotonic()
        while True:
            step, size = last[0], self.sizes[-1]
            if size not in known:
                first.setdefault(size, last)
            following = next(batches, None)
            if following is None:
                break
            self.sizes.append(_count(following))
            last = (step + 1, following)
            if step % 1024 == 0 and time.monotonic() - began > MOST_SECONDS_OF_INDICES:
                self.way = "whole"
                break
        kept = sorted(first, key=lambda n: n or 0)[: MOST_SIZES if self.number > 1 else None]
        wanted = dict([*(first[size] for size in kept), *([last] if self.way != "whole" else [])])
        for step in sorted(wanted):
            self._chosen.append((step, self.sizes[step - 1]))
            yield wanted[step]
        if self.way == "whole":
            yield from batches

    # ------------------------------------------------------------------------------- batch by batch

    def following(self, fetch: Callable[[], Any]) -> tuple[Any, Batch, Kind]:
        """Return the next batch that is given.

        Raises:
            StopIteration: there is none.

        """
        while True:
            try:
                found = self._place(self._fetch(fetch))
            except StopIteration:
                self.all_read = self.all_read or self.is_stream
                if self._held is not None:
                    found, self._held = self._held, None
                    return found
                self.ended = True
                raise
            if self._takes(found[2]):
                self._held = None
                return found
            self._held = found
            if self.is_stream and self.clock.over:
                self.unproved = "the stream did not end within the time"
                self.way = "whole"

    def _fetch(self, fetch: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the loader gives
        if self.limit is not None and self._fetched >= self.limit.batches:
            raise StopIteration
        return fetch()

    def give(self, batch: Batch, kind: Kind) -> None:
        """Note that the script gets this batch."""
        last = self.given[-1].step if self.given else 0
        self.left_out += batch.step - last - 1
        self.given.append(batch)
        if len(self.given) > 1:  # the first step is no usual one: much is imported and built in it
            self._times.append(time.monotonic())
        self.record.recent.append(batch)
        known = self._smallest.get(kind.leading, ())
        comparable = len(known) == len(kind.others)
        self._smallest[kind.leading] = tuple(map(min, known, kind.others)) if comparable else kind.others
        same = self._by_size.setdefault(batch.size or 0, kind)
        if self.way == "indices" and (same.leading, same.others) != (kind.leading, kind.others):
            self.way, self._why = "fetched", "its batches of one size differ in their shapes"

    def _place(self, batch: Any) -> tuple[Any, Batch, Kind]:  # noqa: ANN401 - whatever the loader gives
        kind = Kind(batch)
        size = batch_size_of(batch, self.record.loader.batch_size)
        self._rows.append(size)
        if self.is_stream:
            self.sizes.append(size)
            place = Batch(self, len(self.sizes), size)
        elif self._fetched < len(self._chosen):
            step, count = self._chosen[self._fetched]
            place = Batch(self, step, count if count is not None and self.way == "indices" else size or count)
        else:
            place = Batch(self, self._fetched + 1, size)
        self._fetched += 1
        return batch, place, kind

    def _takes(self, kind: Kind) -> bool:
        """Whether this batch, fetched and looked at, is of a kind that was not given yet."""
        if self.way != "fetched" or not self.enough(len(self.given)) or not kind.visible:
            return True
        known = self._smallest.get(kind.leading)
        if known is None or len(known) != len(kind.others):
            return True
        return any(new < old for new, old in zip(kind.others, known, strict=True))


def way_of(loader: DataLoader[Any]) -> tuple[Way, str | None]:
    """Return how batches of this loader can be left out, and what else than the sampler decides their rows."""
    iterating = next(kind for kind in type(loader).__mro__ if "__iter__" in vars(kind))
    if not iterating.__module__.startswith(("torch.", "accelerate.")) or private.INDEX_SAMPLER not in vars(DataLoader):
        return "whole", f"{iterating.__name__} iterates in its own way"
    if isinstance(loader.dataset, IterableDataset):
        dealt = "its batches are dealt out between the ranks, which must get as many"
        return ("whole", dealt) if isinstance(loader.dataset, Dealt) else ("fetched", None)
    if loader.batch_sampler is None:
        return "fetched", "batch_size=None: the dataset decides how many rows a batch has"
    collate = getattr(loader.collate_fn, "func", loader.collate_fn)
    if collate not in (default_collate, default_convert):
        return "fetched", "its collate function can decide how many rows a batch has"
    if fetches_lists(loader.dataset):
        return "fetched", "its dataset's __getitems__ can decide how many rows a batch has"
    return "indices", None


def _length(loader: DataLoader[Any]) -> int | None:
    if isinstance(loader.dataset, IterableDataset):
        return None
    try:
        return len(loader)
    except Exception:  # noqa: BLE001 - a sampler of the user's without a length, or with a broken one
        return None


def _count(indices: object) -> int | None:
    return None if isinstance(indices, (str, bytes)) or not isinstance(indices, Sized) else len(indices)
