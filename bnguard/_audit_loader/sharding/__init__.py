"""Who divides an epoch between the ranks: a sharding law is one object, in a file of its own.

It knows how it plans, how it shows in a live loader, and which options exclude it. To add one, write
``sharding/its_name.py`` with the object as ``LAW``, and put ``its-name`` into ``LAWS`` below: the command line, the
check of options, the configuration and live loaders read them from here. A law's file is imported when it is asked
for, and none of them imports torch to plan.

The laws are those of torch (``utils/data/``: ``sampler.py``, ``distributed.py``, ``dataloader.py``) and of Accelerate
(``data_loader.py``), in closed form: everything is run-length encoded and nothing is enumerated, so that 10**15 samples
on 4,096 ranks cost as much as 10 samples on one. The tests compare them with the real objects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import groupby
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple

from bnguard._audit_loader.plan import EpochPlan, Setup
from bnguard._errors import UsageError
from bnguard._facts.loaders import Runs, Stream

Groups = tuple[tuple[int, int, Runs], ...]
"""``(first rank, last rank, batches of each)``, lowest ranks first; a group without ranks stands for nothing."""

LAWS = ("distributed-sampler", "accelerate", "accelerate-split", "accelerate-dispatch")


class Recognised(NamedTuple):
    """What a part of a live loader says of the ranks between which it divides samples.

    Attributes:
        world_size: ranks.
        rank: of this process.
        setup: what was known of the loader before, completed by what this part says; None where that does not hold
            for other ranks.
        inner: what is divided: the dataset, or a batch sampler.
        unknown: why other ranks are not known, None where they are.

    """

    world_size: int
    rank: int
    setup: Setup | None
    inner: Any = None
    unknown: str | None = None


class ShardingLaw(ABC):
    """How one library divides an epoch between two ranks or more; one process has the loader as it is.

    Attributes:
        name: as options spell it.
        library: as sentences call it.
        loader_batches: the loader itself cuts each rank's samples into batches, so that ``bnguard.repair`` can
            change their borders.
        divides_batches: a batch of the loader is divided between the ranks, so that its size counts all of them.
        one_reader: one rank reads for all, so that an IterableDataset is divided as any other dataset.

    """

    name: ClassVar[str]
    library: ClassVar[str]
    loader_batches: ClassVar[bool] = False
    divides_batches: ClassVar[bool] = False
    one_reader: ClassVar[bool] = False

    @abstractmethod
    def plan(self, samples: int, setup: Setup) -> Groups:
        """Return the batches of every rank.

        Raises:
            UsageError: if the library would refuse.

        """

    def share(self, samples: int, setup: Setup) -> tuple[Runs, int]:
        """Return each rank's batches of a stream that all ranks read, and how many of its samples some rank shows.

        Nothing divides an IterableDataset of this many samples (per worker) unless a law says so.
        """
        return setup.batches(samples), sum(size * count for size, count in setup.batches(samples))

    def recognise(self, part: Any, setup: Setup) -> Recognised | None:  # noqa: ANN401, ARG002 - see the docstring
        """Return what a part of a live loader says, None where it is not of this law.

        Args:
            part: the loader, its IterableDataset, its batch sampler, or the sampler below that.
            setup: what is known of the loader so far.

        """
        return None

    def exclusions(self, setup: Setup) -> Iterator[tuple[str, str]]:
        """Yield a message and a hint for each option of the setup that means nothing to this law."""
        if setup.sampler_drop_last:
            yield f"--sampler-drop-last belongs to DistributedSampler, not to {self.library}", "use --drop-last"

    def notes(self, setup: Setup) -> Iterator[str]:  # noqa: ARG002 - for those that have something to say
        """Yield what a reader should know about this law with this setup."""
        yield from ()


class _OneProcess(ShardingLaw):
    loader_batches = True

    def plan(self, samples: int, setup: Setup) -> Groups:
        return ((0, 0, setup.batches(samples)),)


_ONE_PROCESS = _OneProcess()


def law_named(name: str) -> ShardingLaw:
    """Return the law of this name.

    Raises:
        UsageError: if there is none.

    """
    if name not in LAWS:
        raise UsageError(f"the sharding {name!r} is not known", hint=f"one of {', '.join(LAWS)}")
    law: ShardingLaw = import_module(f"{__name__}.{name.replace('-', '_')}").LAW
    return law


def law_for(setup: Setup) -> ShardingLaw:
    """Return the law that divides this setup's samples: with a single rank it is that of the loader itself."""
    return law_named(setup.sharding) if setup.world_size > 1 else _ONE_PROCESS


def recognise(part: object, setup: Setup) -> Recognised | None:
    """Ask every law whether it is at work in this part of a live loader; see ``ShardingLaw.recognise``."""
    answers = (law_named(name).recognise(part, setup) for name in LAWS)
    return next((found for found in answers if found is not None), None)


def make_plan(samples: int, setup: Setup) -> EpochPlan:
    """Return every batch size of one epoch.

    ``setup.shard`` must be known where an iterable dataset has workers.

    Raises:
        UsageError: if the library that divides the samples would refuse.

    """
    law = law_for(setup)
    if setup.iterable and not law.one_reader:
        return _by_worker(samples, setup, law)
    streams = tuple(Stream((low, high), made) for low, high, made in _joined(law.plan(samples, setup)))
    # Samples that are repeated to make ranks equal come last, so what is shown is a head of the shuffled order.
    shown = sum(s.total * (s.ranks[1] - s.ranks[0] + 1) for s in streams)
    return EpochPlan(streams, max(0, samples - shown))


def _by_worker(samples: int, setup: Setup, law: ShardingLaw) -> EpochPlan:
    """Plan an IterableDataset: each worker of every rank batches a stream of its own."""
    from bnguard._audit_loader.sharding.workers import worker_sharding

    ranks = (0, setup.world_size - 1)
    if not setup.workers:
        made, shown = law.share(samples, setup)
        return EpochPlan((Stream(ranks, made),), samples - shown)
    way = worker_sharding(setup.shard)
    groups = [(low, high, *law.share(each, setup)) for low, high, each in way.divide(samples, setup.workers)]
    shown = sum(kept * (1 if way.repeats else high - low + 1) for low, high, _, kept in groups)
    joined = _joined((low, high, made) for low, high, made, _ in groups)
    return EpochPlan(tuple(Stream(ranks, made, (low, high)) for low, high, made in joined), samples - shown)


def _joined(groups: Iterable[tuple[int, int, Runs]]) -> Iterator[tuple[int, int, Runs]]:
    """Yield the groups that hold somebody, neighbours with one plan joined."""
    present = (group for group in groups if group[0] <= group[1])
    for made, members in groupby(present, key=itemgetter(2)):
        same = list(members)
        yield same[0][0], same[-1][1], made


def is_from(value: object, package: str, name: str) -> bool:
    """Whether the value's class has this name and lives in such a package (``pytorch_lightning`` too)."""
    kind = type(value)
    return kind.__name__ == name and package in kind.__module__.partition(".")[0]


def behaves_as(value: object, bases: tuple[type, ...]) -> bool:
    """Whether the value is one of these and iterates and counts as they do."""
    kind = type(value)
    return any(
        isinstance(value, base) and kind.__iter__ is base.__iter__ and kind.__len__ is base.__len__  # type: ignore[attr-defined]
        for base in bases
    )
