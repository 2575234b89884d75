"""Every way out that bnguard proposes, once: what it does, where it fits, its price, what carries it out.

Rules, suggestions, diagnoses and repairs take their advice from here, and bind it to the case at hand: to the names
that the script uses, and to numbers that were computed for it. No torch in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Situation = Literal[
    "tail", "every-batch", "piece", "evaluation", "layer", "statistics", "configuration", "cuda", "input"
]
"""What a remedy is for: a single sample in the tail, in every batch, in a replica's or rank's piece, or in evaluation;
a layer as it is built; what its running statistics hold; a setting of it; a kernel on an accelerator; what the layer is
given."""


@dataclass(frozen=True)
class Remedy:
    """One way out.

    Attributes:
        kind: its name, as in the JSON of a suggestion.
        does: a clause in the imperative, without a price and without a full stop.
        fits: the situation that it is for.
        price: what it costs, a clause; '' where that goes without saying.
        function: the dotted name of the function that carries it out, None where there is none.
        code: the line of Python that does it, where that is no call of ``function``.

    """

    kind: str
    does: str
    fits: Situation
    price: str = ""
    function: str | None = None
    code: str | None = None

    def for_case(self, does: str | None = None, *, price: str | None = None, name: str = "", more: str = "") -> Advice:
        """Return the remedy as advice for one case.

        Args:
            does: the clause with what was computed for the case; the general one where None.
            price: what it costs here; the general price where None.
            name: what the script calls the loader or model.
            more: further arguments of the call, as they follow the first.

        """
        return Advice(self.kind, does or self.does, self.price if price is None else price, self.line(name, more))

    def line(self, name: str = "", more: str = "") -> str | None:
        """Return the line of Python that does it to the loader or model of this name, None where no line does."""
        if self.function is None:
            return self.code
        if self.fits == "tail":  # a loader is replaced, a model is changed
            name = name or "loader"
            return f"{name} = {self.function}({name}{more})"
        return f"{self.function}({name or 'model'}{more})"


@dataclass(frozen=True)
class Advice:
    """A remedy for one case: a clause in the imperative, its price, and the line to paste."""

    kind: str
    does: str
    price: str = ""
    call: str | None = None

    @property
    def clause(self) -> str:
        """What to do and its price."""
        return f"{self.does}, {self.price}" if self.price else self.does

    @property
    def text(self) -> str:
        """The clause, and the line of Python behind it."""
        return f"{self.clause}: {self.call}" if self.call else self.clause

    def to_dict(self) -> dict[str, Any]:
        """Return the advice as JSON-ready values."""
        return {"kind": self.kind, "does": self.does, "price": self.price, "call": self.call}


_NOTHING_LOST = "nothing is lost"

# ------------------------------------------------------------------------------------------ of a loader

MERGE_TAIL = Remedy(
    "merge-tail",
    "merge the lone sample into the batch before it",
    "tail",
    _NOTHING_LOST,
    "bnguard.repair.merge_tail",
)
BALANCE = Remedy(
    "balance",
    "spread the samples evenly over the batches",
    "tail",
    _NOTHING_LOST,
    "bnguard.repair.balance",
)
BATCH_SIZE = Remedy(
    "batch-size",
    "choose another batch size, whose tail and pieces hold two samples or more",
    "tail",
    "which must be chosen anew when the dataset grows",
)
DROP_LAST = Remedy("drop-last", "set drop_last=True", "tail", "which loses the tail's samples in every epoch")
KEEP_TAIL = Remedy("keep-tail", "set drop_last=False, or choose a smaller batch size", "tail")
OWN_BATCHES = Remedy(
    "own-batches",
    "let the dataset yield samples and the DataLoader cut them into batches (batch_size=…), which "
    "bnguard.repair.merge_tail can join",
    "tail",
)
LARGER_BATCHES = Remedy("larger-batches", "raise batch_size to 2 or more", "every-batch")
MORE_SAMPLES = Remedy("more-samples", "give this loader at least two samples", "tail")
FEWER_REPLICAS = Remedy("replicas", "use fewer replicas", "piece", _NOTHING_LOST)
FEWER_WORKERS = Remedy("workers", "use another number of workers", "piece", _NOTHING_LOST)
WORLD_SIZE = Remedy("world-size", "train on another number of ranks", "piece")
SYNC_BATCHNORM = Remedy(
    "sync-batchnorm",
    "convert the model with SyncBatchNorm.convert_sync_batchnorm, which counts the samples of all ranks",
    "piece",
    "on accelerators only",
)

# ------------------------------------------------------------------------------------------- of a model

EVAL_MODE = Remedy("eval-mode", "call model.eval() before this loader, and keep its last sample", "evaluation")
ALLOW_SINGLE_SAMPLE = Remedy(
    "allow-single-sample",
    "let a lone sample use the running statistics",
    "layer",
    "which do not follow the data there",
    "bnguard.repair.allow_single_sample",
)
FREEZE = Remedy(
    "freeze",
    "keep the BatchNorm layers as they are pretrained",
    "every-batch",
    "which does not follow new data",
    "bnguard.repair.freeze",
)
GROUP_NORM = Remedy(
    "group-norm",
    "use a normalisation that does not look across samples",
    "every-batch",
    "which needs training anew",
    "bnguard.repair.to_group_norm",
)
TWO_AT_ONCE = Remedy("two-at-once", "give the model two samples or more at once", "layer")
LARGER_INPUT = Remedy("larger-input", "give the layer more positions: a larger input", "layer")
KEEP_BATCH_DIMENSION = Remedy(
    "keep-batch-dimension",
    "write x.flatten(1) for x.squeeze(), or name its dimensions: without them it drops every dimension of size 1, the "
    "batch as well",
    "layer",
)
TRACK_STATISTICS = Remedy(
    "track-statistics", "drop track_running_stats=False, or normalise without the batch (GroupNorm, LayerNorm)", "layer"
)
FEWER_GROUPS = Remedy(
    "fewer-groups", "normalise before the map shrinks to one pixel, or use LayerNorm over the channels", "layer"
)
FREEZE_AFFINE = Remedy(
    "freeze-affine",
    "if the layer is meant to be frozen, set requires_grad=False on its weight and bias as well",
    "configuration",
)
MOMENTUM = Remedy("momentum", "use 1 - value: PyTorch counts the share of the new batch", "configuration")
EPS = Remedy("eps", "use the default, eps=1e-5", "configuration")
LOAD_STATISTICS = Remedy(
    "load-statistics",
    "load trained weights, or run training batches through the model in train mode first",
    "statistics",
)
RESET_STATISTICS = Remedy(
    "reset-statistics",
    "load an earlier checkpoint, or reset with reset_running_stats() and run training batches through",
    "statistics",
)
RECALIBRATE = Remedy(
    "recalibrate",
    "take the running statistics anew from training data",
    "statistics",
    "one pass over a few batches for each layer",
    "bnguard.repair.recalibrate",
)
SINGLE_UPDATE = Remedy(
    "single-update",
    "let the forward that checkpointing repeats leave the running statistics alone",
    "statistics",
    _NOTHING_LOST,
    "bnguard.repair.single_update",
)
SYNC_BUFFERS = Remedy(
    "sync-buffers",
    "copy the buffers as well where a copy of the model follows its parameters",
    "statistics",
    _NOTHING_LOST,
    "bnguard.repair.sync_buffers",
)
BATCH_STATISTICS_OFF = Remedy(
    "batch-statistics-off",
    "let the normalisation layers use their running statistics in forwards that do not train",
    "statistics",
    _NOTHING_LOST,
    code="with bnguard.repair.batch_statistics_off(model): …",
)

# --------------------------------------------------------------------------- of a call that has failed

KEEP_FLOAT32 = Remedy(
    "float32-parameters",
    "keep BatchNorm's parameters and statistics in float32, and let torch.autocast choose the input's dtype",
    "cuda",
)
CONVERT_INPUT = Remedy("convert-input", "convert the input to the parameters' dtype before the layer", "input")
CHANNELS_SECOND = Remedy(
    "channels-second", "make num_features equal to dimension 1 of the input; channels always come second", "input"
)
BATCH_DIMENSION = Remedy("batch-dimension", "add the batch dimension to a single sample with x.unsqueeze(0)", "input")
RIGHT_DIMENSIONS = Remedy(
    "dimensions",
    "BatchNorm1d takes (N, C) or (N, C, L), BatchNorm2d (N, C, H, W), BatchNorm3d (N, C, D, H, W)",
    "input",
)
SMALLER_BATCH = Remedy("smaller-batch", "use a smaller batch, or activation checkpointing", "cuda")
FREE_GRAPHS = Remedy("free-graphs", "keep no tensor with its graph, such as a running total of losses", "cuda")
FREE_MEMORY = Remedy("free-memory", "use a smaller batch, or free memory before this layer", "cuda")
BLOCKING_LAUNCH = Remedy(
    "blocking-launch", "run again with CUDA_LAUNCH_BLOCKING=1: then the traceback shows the call that failed", "cuda"
)
CHECK_INDICES = Remedy(
    "check-indices", "a label or an index outside its range is the usual reason: check it on the CPU", "cuda"
)
SPLIT_BATCH = Remedy("split-batch", "split the batch before this layer", "cuda")
CONTIGUOUS = Remedy("contiguous", "call .contiguous() on the input of this layer", "cuda")
CONTIGUOUS_FORMAT = Remedy("contiguous-format", "convert the input of this layer to torch.contiguous_format", "cuda")
UPDATE_BUILD = Remedy(
    "update-build",
    "update the PyTorch build (it brings its cuDNN), or run with torch.backends.cudnn.enabled = False",
    "cuda",
)
WITHOUT_CUDNN = Remedy(
    "without-cudnn",
    "run this layer without cuDNN",
    "cuda",
    code="with torch.backends.cudnn.flags(enabled=False): …",
)

# ------------------------------------------------------------------- of a failure that only a text tells of

FIND_THE_BATCH = Remedy(
    "find-the-batch",
    "let bnguard preflight say which batch holds one sample, the last or each: bnguard preflight SCRIPT",
    "input",
)
REPLAY = Remedy(
    "replay",
    "let bnguard run repeat the failed call with one thing changed at a time, and say what helps: bnguard run SCRIPT",
    "cuda",
)
BROADCAST_BUFFERS = Remedy(
    "broadcast-buffers",
    "wrap the model with DistributedDataParallel(…, broadcast_buffers=False)",
    "cuda",
    "each rank then keeps running statistics of its own",
)
ONE_FORWARD = Remedy(
    "one-forward", "call the model once before each backward, with both inputs in one batch (torch.cat)", "cuda"
)

REMEDIES: dict[str, Remedy] = {r.kind: r for r in list(globals().values()) if isinstance(r, Remedy)}
"""All of them, by kind."""
