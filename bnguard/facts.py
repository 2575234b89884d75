"""What is true of a model or a loader, as plain frozen data: no torch object and no opinion in here.

Rules judge these, reporters show them. Everything is made in ``bnguard.model`` and ``bnguard.loader``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["train", "eval"]
Verdict = Literal["fails", "single-sample", "thin", "ok", "frozen", "not-reached", "unknown"]
Method = Literal["meta", "fake", "real", "none"]
NormKind = Literal["batch", "group", "instance", "hand-written"]

THIN_VALUES = 16
"""Fewer values per channel than this make batch statistics noisy: verdict ``thin``."""


@dataclass(frozen=True)
class SourceLine:
    """A line of the user's code; ``file`` is relative to the working folder where it lies below it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def to_dict(self) -> dict[str, Any]:
        """Return the location as JSON-ready values."""
        return {"file": self.file, "line": self.line}


# ---------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class InputFact:
    """One tensor given to the model's forward.

    Attributes:
        name: the keyword it is passed by, or None when it is positional.
        shape: with the batch dimension first.
        dtype: torch's name without the prefix, such as ``float32``.
        source: where it comes from: ``given``, ``bnguard_inputs``, ``example_input_array``,
            ``pretrained_cfg`` or ``assumed``.
    """

    name: str | None
    shape: tuple[int, ...]
    dtype: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return the input as JSON-ready values."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype, "source": self.source}


@dataclass(frozen=True)
class NormCall:
    """One call of a normalisation function during the traced forward.

    Attributes:
        shape: of the input, channels at index 1.
        values_per_statistic: how many values each mean and variance is taken over. For BatchNorm that is
            ``numel / shape[1]``, for GroupNorm channels-per-group x space, for InstanceNorm space.
        batch_statistics: whether this input's own statistics are used, not running ones.
        raises: whether PyTorch refuses the call (one value per statistic, checked by the functional form).
        dtype: of the input.
        param_dtype: of the affine parameters, or of the running statistics, or None without either.
        backend: what PyTorch chooses on the predicted device (``cudnn``, ``native``, …), None if not known.
        rejected: the message of the error that torch raises for this mix of types or shapes, or None.
    """

    shape: tuple[int, ...]
    values_per_statistic: int
    batch_statistics: bool
    raises: bool = False
    dtype: str = "float32"
    param_dtype: str | None = None
    backend: str | None = None
    rejected: str | None = None

    @property
    def values_per_channel(self) -> int:
        """N x space: the number of values that share one channel of this input."""
        count = 1
        for i, size in enumerate(self.shape):
            count *= 1 if i == 1 else size
        return count

    def to_dict(self) -> dict[str, Any]:
        """Return the call as JSON-ready values."""
        return {
            "shape": list(self.shape),
            "values_per_channel": self.values_per_channel,
            "values_per_statistic": self.values_per_statistic,
            "batch_statistics": self.batch_statistics,
            "raises": self.raises,
            "dtype": self.dtype,
            "backend": self.backend,
        }


@dataclass(frozen=True)
class StatisticsFact:
    """The contents of a layer's running statistics, where real values are at hand.

    Attributes:
        nonfinite: number of channels with NaN or infinity in mean or variance.
        never_updated: counter at 0, mean 0 and variance 1 everywhere.
        collapsed: share of the channels, 0 to 1, whose variance has fallen towards 0.
        batches_tracked: the counter, None where the layer has none.
    """

    nonfinite: int
    never_updated: bool
    collapsed: float
    batches_tracked: int | None


@dataclass(frozen=True)
class LayerFact:
    """A normalisation layer: how it is configured, and what the traced forward did with it.

    Attributes:
        name: dotted path of the layer, or of the module that made a functional call; '' is the root.
        aliases: further dotted paths of the same instance.
        type: the class name, or ``functional``.
        kind: which statistics it takes.
        num_features: channels; None where it is not known before the first forward.
        training: the layer's own mode flag during the trace.
        affine: whether it has weight and bias.
        affine_trains: whether weight or bias require a gradient.
        track_running_stats: whether running statistics exist.
        momentum: None means a cumulative average.
        verdict: see the vocabulary in docs/reference.
        min_batch_size: the smallest batch size at which it does not fail, measured; None if not known.
        larger_input: the smallest tried input (with batch dimension) at which a failing layer holds without a
            larger batch, measured; None if there is none.
        source: the user's line that created it.
        calls: in execution order; empty where the forward did not reach it.
        order: the position of its first call among all normalisation calls, None if not reached.
        statistics: None where the layer has no running statistics or no real values.
        reason: why the verdict is ``unknown``, else None.
    """

    name: str
    type: str
    kind: NormKind
    num_features: int | None
    training: bool
    affine: bool
    track_running_stats: bool
    momentum: float | None
    eps: float
    verdict: Verdict
    aliases: tuple[str, ...] = ()
    affine_trains: bool = True
    num_groups: int | None = None
    min_batch_size: int | None = None
    larger_input: tuple[int, ...] | None = None
    source: SourceLine | None = None
    calls: tuple[NormCall, ...] = ()
    order: int | None = None
    statistics: StatisticsFact | None = None
    reason: str | None = None

    @property
    def label(self) -> str:
        """The dotted name, or a word for the root itself."""
        return self.name or "(the model itself)"

    @property
    def batch_statistics(self) -> bool:
        """Whether any call used the statistics of its own input."""
        return any(c.batch_statistics for c in self.calls)

    @property
    def fewest_values(self) -> int | None:
        """The smallest number of values per statistic over all calls that used batch statistics."""
        return min((c.values_per_statistic for c in self.calls if c.batch_statistics), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as JSON-ready values."""
        return {
            "name": self.name,
            "aliases": list(self.aliases),
            "type": self.type,
            "kind": self.kind,
            "num_features": self.num_features,
            "training": self.training,
            "affine": self.affine,
            "track_running_stats": self.track_running_stats,
            "momentum": self.momentum,
            "eps": self.eps,
            "verdict": self.verdict,
            "reason": self.reason,
            "min_batch_size": self.min_batch_size,
            "larger_input": list(self.larger_input) if self.larger_input else None,
            "source": self.source.to_dict() if self.source else None,
            "calls": [c.to_dict() for c in self.calls],
        }


@dataclass(frozen=True)
class ModelFact:
    """A model, the inputs it was traced with, and its normalisation layers.

    Attributes:
        target: the text that named it, or the class name for a live model.
        cls: the class name.
        batch_size: of the traced forward.
        mode: what was called on the root before the trace.
        device: whose backend the calls predict: ``cuda`` or ``cpu``.
        inputs: what forward was given; empty where none worked.
        method: how shapes were found.
        trace_error: why the forward could not be traced to its end, one line, or None.
        trace_traceback: the user's frames of that error, or None.
        first_failure: name of the layer at which a real forward would raise first, or None.
        layers: in ``named_modules`` order, functional calls after them.
        notes: what the reader should know about how this was found (weights skipped, input assumed …).
    """

    target: str
    cls: str
    batch_size: int
    mode: Mode
    inputs: tuple[InputFact, ...]
    method: Method
    layers: tuple[LayerFact, ...]
    device: str = "cuda"
    trace_error: str | None = None
    trace_traceback: str | None = None
    first_failure: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def failing(self) -> tuple[LayerFact, ...]:
        """The layers that fail, in execution order."""
        return tuple(sorted((x for x in self.layers if x.verdict == "fails"), key=lambda x: x.order or 0))

    def to_dict(self) -> dict[str, Any]:
        """Return the model as JSON-ready values."""
        return {
            "target": self.target,
            "class": self.cls,
            "batch_size": self.batch_size,
            "mode": self.mode,
            "device": self.device,
            "inputs": [i.to_dict() for i in self.inputs],
            "method": self.method,
            "trace_error": self.trace_error,
            "first_failure": self.first_failure,
            "notes": list(self.notes),
            "layers": [layer.to_dict() for layer in self.layers],
        }


# --------------------------------------------------------------------------------------- loaders

Runs = tuple[tuple[int, int], ...]
"""Batch sizes in order, run-length encoded: ``(size, how many in a row)``."""

TIMES = "\u00d7"


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
class LoneSample:
    """Where the first batch of one sample sits; ``step`` counts from 1, all others from 0.

    ``size`` is what the loader's whole batch at that step holds on this rank; it exceeds 1 where a
    replica or a micro-batch is what holds the lone sample.
    """

    rank: int
    step: int
    steps: int
    replica: int | None = None
    worker: int | None = None
    micro_batch: int | None = None
    size: int = 1

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
    first_single: LoneSample | None = None
    unknown: str | None = None
    notes: tuple[str, ...] = ()
    source: SourceLine | None = None
    world_size: int = 1
    replicas: int = 1
    workers: int = 0
    micro_batches: int = 1
    divided: bool = False

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
    """

    kind: str
    detail: str
    loader: str
    batch_size: int | None = None
    samples_lost: int = 0
    world_size: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the suggestion as JSON-ready values."""
        return {
            "kind": self.kind,
            "loader": self.loader,
            "batch_size": self.batch_size,
            "world_size": self.world_size,
            "samples_lost": self.samples_lost,
            "detail": self.detail,
        }
