"""What is true of a loader, as plain frozen data without torch; an audit of numbers needs no more than this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bnguard._facts.models import Mode, SourceLine

Runs = tuple[tuple[int, int], ...]
"""Batch sizes in order, run-length encoded: ``(size, how many in a row)``."""

TIMES = "\u00d7"


def dimensions(shape: Iterable[int]) -> str:
    """Return a shape as people write it: 1 x 512 x 7 x 7 with multiplication signs."""
    return TIMES.join(map(str, shape))


def runs_text(batches: Runs) -> str:
    """Return batch sizes as people write them, ``125 x 8 + 1``; a long sum is cut in the middle."""
    parts = [f"{size:,}" if count == 1 else f"{count:,} {TIMES} {size:,}" for size, count in batches]
    if len(parts) > 5:
        parts = [*parts[:3], "…", parts[-1]]
    return " + ".join(parts) or "no batch"


@dataclass(frozen=True)
class Stream:
    """The batches that one rank, or one worker of it, yields in an epoch; equal neighbours share a stream.

    Attributes:
        ranks: inclusive range of ranks with this plan.
        batches: batch sizes in order, run-length encoded.
        workers: inclusive range of DataLoader workers, None where batches are not made per worker.
        replica_batches: per run of model inputs the sizes that the DataParallel replicas get, None without
            replicas.
        micro_batches: per run of batches the micro-batch sizes, themselves run-length encoded, None without
            micro-batches.

    """

    ranks: tuple[int, int]
    batches: Runs
    workers: tuple[int, int] | None = None
    replica_batches: tuple[tuple[tuple[int, ...], int], ...] | None = None
    micro_batches: tuple[tuple[Runs, int], ...] | None = None

    @property
    def steps(self) -> int:
        """How many batches this rank or worker yields."""
        return sum(count for _, count in self.batches)

    @property
    def total(self) -> int:
        """How many samples this rank or worker yields, repeated ones included."""
        return sum(size * count for size, count in self.batches)

    @property
    def width(self) -> int:
        """How many workers of one rank share this plan; 1 where batches are not made per worker."""
        return self.workers[1] - self.workers[0] + 1 if self.workers else 1

    def to_dict(self) -> dict[str, Any]:
        """Return the stream as JSON-ready values."""
        document: dict[str, Any] = {
            "ranks": list(self.ranks),
            "workers": list(self.workers) if self.workers else None,
            "batches": [list(run) for run in self.batches],
            "replica_batches": None,
            "micro_batches": None,
        }
        if self.replica_batches is not None:
            document["replica_batches"] = [[list(sizes), count] for sizes, count in self.replica_batches]
        if self.micro_batches is not None:
            document["micro_batches"] = [[[list(r) for r in runs], count] for runs, count in self.micro_batches]
        return document


@dataclass(frozen=True)
class BatchPlace:
    """Where the first batch of a certain size sits; ``step`` counts from 1, all others from 0.

    ``size`` is what the loader's whole batch at that step holds on this rank; it exceeds ``piece``, what one forward
    sees of it, where a replica or a micro-batch is what holds the lone sample.
    """

    rank: int
    step: int
    steps: int
    replica: int | None = None
    worker: int | None = None
    micro_batch: int | None = None
    size: int = 1
    piece: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the place as JSON-ready values."""
        return {
            "rank": self.rank,
            "step": self.step,
            "steps": self.steps,
            "replica": self.replica,
            "worker": self.worker,
            "micro_batch": self.micro_batch,
        }


@dataclass(frozen=True)
class LoaderFact:
    """Every batch size that one loader gives in an epoch.

    Attributes:
        name: the split's or loader's name.
        mode: whether the model trains on it.
        samples: in the dataset or drawn by the sampler; None if not known.
        batch_size: None for loaders that do not batch or whose batches vary.
        drop_last: as the loader was told.
        streams: the plan; empty where it is not known.
        smallest: the smallest batch that any rank, worker or replica gets; None without batches.
        steps: that one rank takes in an epoch (the longest, where ranks differ); None if not known.
        unused: samples that an epoch never shows; None if not known.
        first_single: where the first batch of one sample sits, None where there is none.
        unknown: why the sizes, or some of them, are not known; None where they are.
        notes: what else the reader should know.
        source: the user's line that made the loader, None if not known.
        world_size: ranks.
        replicas: of ``nn.DataParallel``, 1 without it.
        workers: that make batches of their own (iterable datasets alone), 0 otherwise.
        micro_batches: pieces that each batch is cut into, 1 where it is not.
        divided: whether each batch is divided between the ranks (Accelerate's ``split_batches`` and its
            dispatcher), so that ``batch_size`` counts all of them.
        part: of a split dataset, where several sizes of the dataset are audited; '' where it is not split.
        dataset: that size; None where a dataset of one size is audited.
        variable: what the script calls it, None if not known.
        epochs: the batches of its first epochs, where a sampler of the user's makes them differ; else empty.
        ordered: whether the order of the batches is known, and not drawn at random in every epoch.
        varies: whether the very sizes are drawn at random, so that the streams are those of one epoch of many.
        borders: whether ``bnguard.repair`` can move the borders of its batches; not where the dataset, or another
            library, cuts them.

    """

    name: str
    mode: Mode
    samples: int | None
    batch_size: int | None
    drop_last: bool
    streams: tuple[Stream, ...]
    smallest: int | None = None
    steps: int | None = None
    unused: int | None = None
    first_single: BatchPlace | None = None
    unknown: str | None = None
    notes: tuple[str, ...] = ()
    source: SourceLine | None = None
    world_size: int = 1
    replicas: int = 1
    workers: int = 0
    micro_batches: int = 1
    divided: bool = False
    part: str = ""
    dataset: int | None = None
    variable: str | None = None
    epochs: tuple[Runs, ...] = ()
    ordered: bool = True
    varies: bool = False
    borders: bool = True

    @property
    def name_in_code(self) -> str:
        """What a line to paste calls it: what the script does; else its name, unless that may be the key of a dict."""
        if self.variable is not None:
            return self.variable
        return self.name if self.name.isidentifier() and self.name.lower().endswith(("loader", "dl")) else "loader"

    def to_dict(self) -> dict[str, Any]:
        """Return the loader as JSON-ready values."""
        return {
            "name": self.name,
            "mode": self.mode,
            "samples": self.samples,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "world_size": self.world_size,
            "replicas": self.replicas,
            "workers": self.workers,
            "streams": [s.to_dict() for s in self.streams],
            "smallest": self.smallest,
            "steps": self.steps,
            "unused": self.unused,
            "first_single": self.first_single.to_dict() if self.first_single else None,
            "unknown": self.unknown,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Suggestion:
    """A way out for a loader, re-audited and so known to work for every rank, worker and replica.

    Attributes:
        kind: ``merge-tail``, ``balance``, ``batch-size``, ``drop-last``, ``replicas``, ``workers``,
            ``world-size`` or ``sync-batchnorm``.
        detail: one sentence that says what to do and what it costs.
        loader: the name of the loader it is for.
        batch_size: the batch size to use, where the kind has one.
        samples_lost: per epoch.
        world_size: the number of ranks to use, where the kind has one.
        call: the line of Python that does it, where ``bnguard.repair`` has one.

    """

    kind: str
    detail: str
    loader: str
    batch_size: int | None = None
    samples_lost: int = 0
    world_size: int | None = None
    call: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the suggestion as JSON-ready values."""
        return {
            "kind": self.kind,
            "loader": self.loader,
            "batch_size": self.batch_size,
            "world_size": self.world_size,
            "samples_lost": self.samples_lost,
            "detail": self.detail,
            "call": self.call,
        }
