"""Under what circumstances a normalisation layer was called: what decides which way out fits. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

Alone = Literal["tail", "every-batch", "piece", "chunk", "rows", "between"]
"""How a call comes to have a single sample: the loader's last batch; each of its batches; a rank's or replica's share;
a chunk into which the model or the loop cuts its batch; the rows that the model or the data choose; something between
the loader, none of whose batches is so small, and the model."""

_TRAINS = {"train", "training", "trainer", "fit", "learn", "finetune", "optimize", "update", "backward"}
_DOES_NOT = {
    "val", "valid", "validate", "validation", "eval", "evaluate", "evaluation", "test", "testing", "predict",
    "prediction", "infer", "inference", "act", "action", "sample", "generate", "export", "summary", "summarize",
    "visualize", "plot", "demo", "benchmark", "profile", "probe",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


_PROBES = {
    r"torch[\\/]onnx[\\/]": "torch.onnx.export",
    r"torch[\\/]jit[\\/]\w*trace\.py$": "torch.jit.trace",
    r"torch[\\/]utils[\\/]tensorboard[\\/]": "add_graph",
    r"[\\/](torchsummary\w*|torchinfo|thop|ptflops|fvcore|torchviz|hiddenlayer|tensorboardX)[\\/]": "",
}


def probe_of(file: str) -> str | None:
    """Return what runs a model once to look at it, where this file is one of its: an exporter, a summary; else None."""
    for pattern, name in _PROBES.items():
        found = re.search(pattern, file)
        if found is not None:
            return name or str(found[1])
    return None


def does_not_train(function: str) -> bool | None:
    """Say what the name of a function tells of the forwards in it: ``validate`` does not train, ``train_step`` does."""
    words = {word.lower() for word in _WORD.findall(function)}
    if words & _TRAINS:
        return False
    return True if words & _DOES_NOT else None


@dataclass(frozen=True)
class Situation:
    """What is known of a call besides its arguments; None is not known.

    Attributes:
        function: the user's function around it whose name says that nothing is trained there, such as ``validate``.
        grad: whether gradients were recorded.
        fed: whether the batch came from a loader.
        loader: what the script calls that loader.
        model: what the script calls the model.
        looped: whether the call is in a loop of the script's.
        alone: how it comes to have a single sample.
        batch_size: samples that the model was called with.
        place: of the batch in its epoch: ``step 126 of 126``.

    """

    function: str | None = None
    grad: bool | None = None
    fed: bool | None = None
    loader: str | None = None
    model: str | None = None
    looped: bool | None = None
    alone: Alone | None = None
    batch_size: int | None = None
    place: str | None = None

    @property
    def evaluates(self) -> bool:
        """Whether the function's name, or that no gradients are recorded, says that nothing is trained."""
        return self.function is not None or self.grad is False

    @property
    def trains(self) -> bool | None:
        """Whether the forward is part of training: not in an evaluation, and hardly one that stands by itself."""
        if self.evaluates or (self.fed is False and self.looped is False):
            return False
        return True if self.grad and self.fed else None

    def to_dict(self) -> dict[str, Any]:
        """Return the situation as JSON-ready values."""
        return dict(vars(self))
