"""What is foreseen of a model on a loader, as plain frozen data without torch: where an epoch stops, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bnguard._facts.models import Mode, SourceLine
    from bnguard._facts.situation import Situation

Ground = Literal["seen", "shapes", "assumed"]
"""What a forecast rests on: that very call was run; it was followed on shapes; or something was assumed."""

Cause = Literal["one-value", "lost-dimension", "refused"]
"""Why a layer raises: one value per statistic; a batch dimension lost on the way; anything else it refuses."""


@dataclass(frozen=True)
class SizeFact:
    """What one forward does at one batch size.

    Attributes:
        batch_size: N of the forward.
        stops: whether a normalisation layer raises; None where that could not be found out.
        layer: the first layer to raise, in execution order; '' is the model itself; None where none does.
        layer_type: its class name, or ``functional``.
        num_features: its channels, None where it has none.
        source: the user's line that built it, None if not known.
        error: the name of the exception's type, as PyTorch raises it.
        message: the first line of the exception, with its type, where PyTorch was heard saying it.
        shape: of the input at the layer; None where the layer refuses it before anything is counted.
        per: what the values are counted over: ``channel``, ``group``, or ``sample and channel``.
        cause: why it raises.
        failing: every layer that would raise, the first one first.
        single: how many layers take mean and variance from one sample without raising.
        unknown: why it could not be found out, None where it could.
        situation: the circumstances of the call, where it was run.

    """

    batch_size: int
    stops: bool | None
    layer: str | None = None
    layer_type: str | None = None
    num_features: int | None = None
    source: SourceLine | None = None
    error: str | None = None
    message: str | None = None
    shape: tuple[int, ...] | None = None
    per: str = "channel"
    cause: Cause | None = None
    failing: tuple[str, ...] = ()
    single: int = 0
    unknown: str | None = None
    situation: Situation | None = None

    @property
    def sees(self) -> str:
        """What the layer meets, in words that follow its name."""
        if self.cause == "one-value":
            return f"sees one value per {self.per}"
        lost = "loses the batch dimension" if self.cause == "lost-dimension" else "refuses its input"
        return f"{lost} ({self.message or self.error})"

    @property
    def label(self) -> str:
        """The layer's dotted name, or a word for the root itself."""
        return self.layer or "(the model itself)"

    def to_dict(self) -> dict[str, Any]:
        """Return the size as JSON-ready values."""
        return {
            "batch_size": self.batch_size,
            "stops": self.stops,
            "layer": self.layer,
            "error": self.error,
            "shape": list(self.shape) if self.shape else None,
            "single_sample_layers": self.single,
            "unknown": self.unknown,
        }


@dataclass(frozen=True)
class ForecastFact:
    """Where training on one loader stops with one model, if it does.

    Attributes:
        model: the model's target text, or the class name of a live model.
        loader: the loader's name.
        mode: whether the model trains on this loader.
        called: what is called on the model before the epoch: ``train``, ``eval``, or None where the flags of its
            modules were left as they are.
        stops: whether a normalisation layer raises; None where that is not known (see ``unknown``).
        epoch: in which it stops, from 1; 1 where it does not.
        step: at which it stops, from 1; None where it does not.
        steps: of the epoch, on the rank that stops; those of one rank (the longest) where it does not.
        batch_size: samples in the forward that raises, which is a replica's or a micro-batch's where there are any.
        rank: the lowest rank that stops at this step.
        ranks: inclusive range of the ranks that share its plan, and so stop with it.
        replica: of ``nn.DataParallel``, from 0, or None.
        worker: of the DataLoader, from 0, where batches are made per worker, or None.
        micro_batch: from 0, or None.
        at: the forward that raises; None where none does.
        sizes: what the forward does at each distinct batch size of the epoch, the largest first.
        unknown: why ``stops`` is not known, None where it is.
        ground: what the answer rests on.
        assumption: what was assumed, where the ground is that.
        notes: what else the reader should know of how this was found.
        allow_unknown: whether *not known* is answer enough to go on, as a user may say.

    """

    model: str
    loader: str
    mode: Mode
    stops: bool | None
    called: Mode | None = None
    epoch: int = 1
    step: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    rank: int | None = None
    ranks: tuple[int, int] | None = None
    replica: int | None = None
    worker: int | None = None
    micro_batch: int | None = None
    at: SizeFact | None = None
    sizes: tuple[SizeFact, ...] = ()
    unknown: str | None = None
    ground: Ground = "shapes"
    assumption: str | None = None
    notes: tuple[str, ...] = ()
    allow_unknown: bool = False

    @property
    def unknown_in_training(self) -> bool:
        """Whether it is not known of a training loader whether it stops, and nobody has said that this will do."""
        return self.mode == "train" and self.stops is None and not self.allow_unknown

    @property
    def layer(self) -> str | None:
        """The dotted name of the layer that raises, or None."""
        return self.at.layer if self.at else None

    @property
    def error(self) -> str | None:
        """The name of the exception's type, or None."""
        return self.at.error if self.at else None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of the input at the layer that raises, or None."""
        return self.at.shape if self.at else None

    @property
    def place(self) -> str | None:
        """The step at which it stops, in words; None where the batches come from no loader that could count them."""
        if self.step is None:
            return None
        return f"step {self.step:,}" + (f" of {self.steps:,}" if self.steps else "")

    def size(self, batch_size: int) -> SizeFact | None:
        """Return what the forward does at this batch size, or None where the epoch does not bring it."""
        return next((s for s in self.sizes if s.batch_size == batch_size), None)

    def assuming(self, *assumptions: str) -> ForecastFact:
        """Return the forecast as one that rests on these assumptions too."""
        known = (self.assumption,) if self.assumption is not None else ()
        return replace(self, ground="assumed", assumption=" and ".join(dict.fromkeys((*known, *assumptions))))

    def to_dict(self) -> dict[str, Any]:
        """Return the forecast as JSON-ready values."""
        return {
            "model": self.model,
            "loader": self.loader,
            "mode": self.mode,
            "stops": self.stops,
            "epoch": self.epoch,
            "step": self.step,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "rank": self.rank,
            "ranks": list(self.ranks) if self.ranks else None,
            "replica": self.replica,
            "worker": self.worker,
            "micro_batch": self.micro_batch,
            "layer": self.layer,
            "error": self.error,
            "shape": list(self.shape) if self.shape else None,
            "sizes": [s.to_dict() for s in self.sizes],
            "unknown": self.unknown,
            "reason": self.unknown,
            "ground": self.ground,
            "assumption": self.assumption,
            "notes": list(self.notes),
        }
