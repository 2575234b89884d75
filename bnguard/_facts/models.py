"""What is true of a model, as plain frozen data: no torch object and no opinion in here.

Rules judge these, reporters show them. They are made in ``bnguard._trace`` and ``bnguard._scan``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bnguard._facts.norm_kinds import KINDS, NormKind

Mode = Literal["train", "eval"]
Verdict = Literal["fails", "single-sample", "data-dependent", "thin", "ok", "frozen", "not-reached", "unknown"]
Method = Literal["meta", "fake", "real", "none"]

THIN_VALUES = 16
"""Fewer values per channel than this make batch statistics noisy: verdict ``thin``."""


@dataclass(frozen=True)
class SourceLine:
    """A line of the user's code; ``file`` is relative to the working folder where it lies below it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def short(self) -> str:
        """The line without the folders above an installed package: these are the machine's, and no news."""
        file = self.file.replace("\\", "/")
        for folder in ("/site-packages/", "/dist-packages/"):
            if folder in file:
                return f"{file.rpartition(folder)[2]}:{self.line}"
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the location as JSON-ready values."""
        return {"file": self.file, "line": self.line}


def class_text(kind: str, num_features: int | None) -> str:
    """Return a layer's class as ``BatchNorm1d(128)``; a call outside a normalisation layer has none."""
    if kind == "functional":
        return "functional call"
    return f"{kind}({num_features})" if num_features else kind


# ---------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class InputFact:
    """One tensor given to the model's forward.

    Attributes:
        name: the keyword it is passed by, or None when it is positional.
        shape: with the batch dimension first.
        dtype: torch's name without the prefix, such as ``float32``.
        source: where it comes from: ``given``, ``bnguard_inputs``, ``example_input_array``,
            ``pretrained_cfg``, ``sample`` (a loader's) or ``assumed``.

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
        eps_avoids_cudnn: whether cuDNN would be chosen with the default eps, but not with this one.
        rejected: the message of the error that torch raises for this mix of types or shapes, or None.
        error: the name of the exception's type, where the call raises or is rejected.

    """

    shape: tuple[int, ...]
    values_per_statistic: int
    batch_statistics: bool
    raises: bool = False
    dtype: str = "float32"
    param_dtype: str | None = None
    backend: str | None = None
    eps_avoids_cudnn: bool = False
    rejected: str | None = None
    error: str | None = None

    @property
    def stops(self) -> bool:
        """Whether a real forward would not get past this call."""
        return self.raises or self.rejected is not None

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
        nonfinite: number of channels with NaN or infinity in mean or variance, or a variance below 0.
        never_updated: counter at 0, mean 0 and variance 1 everywhere.
        collapsed: share of the channels, 0 to 1, whose variance has fallen towards 0.

    """

    nonfinite: int
    never_updated: bool
    collapsed: float


@dataclass(frozen=True)
class LayerFact:
    """A normalisation layer: how it is configured, and what the traced forward did with it.

    Attributes:
        name: dotted path of the layer, or of the module that made a functional call; '' is the root.
        aliases: further dotted paths of the same instance.
        type: the class name, or ``functional``.
        kind: the name of its kind in ``bnguard._facts.norm_kinds``.
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
        reason: why the verdict is ``unknown`` or ``data-dependent``, else None.

    """

    name: str
    type: str
    kind: str
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
    def norm(self) -> NormKind:
        """What is known of its kind."""
        return KINDS[self.kind]

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
