"""The frames of a traceback, as text → the dotted path of the module that failed: ``layer4.*.bn1``. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from bnguard._diagnose.log_text import Frame
from bnguard._facts.norm_kinds import KINDS, NormKind, place_of

UNKNOWN = "*"
"""Stands for a step whose name the text does not hold: the index in a Sequential, a layer in a local variable."""


def _file_and_name(name: str) -> tuple[str, str]:
    module, attribute = place_of(name)
    return f"{module.replace('.', '/')}.py", attribute.rpartition(".")[2]


_LAYER_FILES = {_file_and_name(name)[0] for kind in KINDS for name in kind.classes}
_FUNCTIONS = {_file_and_name(f.name): kind for kind in KINDS for f in kind.functions if "." in place_of(f.name)[0]}
"""The kinds of the functions of Python, by the end of their file's path and their name."""

_STEPS = ("training_step", "validation_step", "test_step", "predict_step")
_WRAPPERS = re.compile(
    r"(?:^|/)(?:torch/(?:nn|utils|autograd|jit|onnx|distributed|amp|cuda|fx|func|optim|_\w+|functional|tensor)(?:/|\.py$)"
    r"|(?:pytorch_lightning|lightning/pytorch|lightning/fabric|lightning_fabric|accelerate|deepspeed|ignite|composer)/)"
)
"""Their frames stand between the user's; the ``self.model`` and ``self.module`` in them are no part of a name."""

_CALLED = re.compile(r"\bself\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[[^\]]*\])*)\(")
_INDEX = re.compile(r"\[([^\]]*)\]")
RECURRENT = "a recurrent layer"

_ANY_CALL = re.compile(r"\b((?:\w+\.){0,6}\w+)\(")
_NODE = re.compile(r"Error detected in (\w+?)(?:Backward\d*)?\b")
_KERNEL = re.compile(r"\b(cudnn(?!_STATUS|_frontend|Graph|Create|Get|Set|Destroy)[A-Z_]\w+)")
_OPERATIONS = tuple(
    (title, re.compile(pattern, re.IGNORECASE))
    for title, pattern in (
        ("a convolution", r"conv"),
        (RECURRENT, r"lstm|gru|rnn"),
        ("a linear layer", r"^linear|^fc\d*$|addmm|bmm|matmul|^mm$"),
        ("attention", r"attention|^sdpa"),
        ("a loss", r"cross_entropy|ctc_?loss|nll_loss|mse_loss"),
        ("the sampling of a grid", r"affine_?grid|grid_?sample"),
        ("an embedding", r"embedding"),
    )
)
"""What else is computed by cuDNN, or mixes dtypes, by parts of its functions' names."""
_NORM_NAME = re.compile(r"(?i)bn|norm")


@dataclass(frozen=True)
class ModulePath:
    """The failing module as the frames show it.

    Attributes:
        path: from the outermost module in sight; ``*`` for each step without a name.
        exact: whether ``path`` is the whole name: no step is missing, and the outermost module is the model.
        caller: the last frame outside PyTorch: the line that called the layer.
        kind: of the failing function, None without one.

    """

    path: str
    exact: bool
    caller: Frame | None
    kind: NormKind | None


def find_norm(frames: Sequence[Frame]) -> ModulePath | None:
    """Return the normalisation layer in these frames, or None where they pass through none."""
    at = next((i for i, frame in enumerate(frames) if _is_norm(frame)), None)
    if at is None:
        return None
    relevant = [f for f in frames[:at] if _is_container(f) or not _is_wrapper(f)]
    steps = list(_steps([*relevant, frames[at]] if _is_layer(frames[at]) else relevant))
    caller = next((frame for frame in reversed(relevant) if not _is_container(frame)), None)
    kind = next((kind for frame in frames[at:] if (kind := _kind(frame))), None)
    path = ".".join(steps)
    # somebody outside the modules calls the first of them; under autograd that is only where a recomputation begins
    from_the_model = bool(relevant) and relevant[0].function != "forward" and not in_backward(frames)
    exact = bool(path) and UNKNOWN not in path.split(".") and from_the_model
    return ModulePath(path, exact, caller, kind)


class Operation(NamedTuple):
    """What the text shows to have failed in place of a normalisation: what that is, None if not known, and its name."""

    title: str | None
    name: str

    @property
    def text(self) -> str:
        """What to call it."""
        return f"{self.title or 'another layer'} ({self.name})"


def other_operation(frames: Sequence[Frame], text: str) -> Operation | None:
    """Return what failed where that is no normalisation; None where nothing shows it.

    It is shown by the node that autograd's anomaly detection names, by cuDNN's own function, or by the last frame.
    """
    named = _NODE.search(text) or _KERNEL.search(text)
    if named:
        return _operation([named[1]])
    last = frames[-1] if frames else None
    if last is None or in_backward(frames):
        return None
    file = re.split(r"[/\\]", last.file)[-1].removesuffix(".py")
    if _in(last, "torch/nn/modules/"):
        is_layer = file not in ("module", "container")
        return Operation(_title(file), f"torch/nn/modules/{file}.py") if is_layer else None
    if _in(last, "torch/nn/functional"):
        return _operation([last.function])
    called = [name.rpartition(".")[2] for name in _ANY_CALL.findall((last.call or last.source)[:500])]
    return None if any(_NORM_NAME.search(name) for name in (*called, last.function)) else _operation(called)


def norm_in_backward(text: str) -> bool:
    """Whether autograd's anomaly detection names a normalisation's node."""
    node = _NODE.search(text)
    return node is not None and re.search(r"batch_?norm|instance_?norm|group_?norm", node[1], re.IGNORECASE) is not None


def _operation(names: Sequence[str]) -> Operation | None:
    return next((Operation(title, name) for name in names if (title := _title(name))), None)


def _title(name: str) -> str | None:
    return next((title for title, pattern in _OPERATIONS if pattern.search(name)), None)


def in_backward(frames: Sequence[Frame]) -> bool:
    """Whether the error came out of autograd."""
    return any(_in(frame, "torch/autograd/") for frame in frames)


def _steps(frames: Sequence[Frame]) -> Iterator[str]:
    """Yield the attribute by which each module calls the next.

    A frame calls a module where the next frame is a ``forward``. Above the first module there is the user's loop,
    whose ``self.model(x)`` is an attribute of a trainer, and no part of the name.
    """
    inside = False
    for frame, following in pairwise(frames):
        inside = inside or frame.function in ("forward", *_STEPS)
        if inside and following.function == "forward":
            yield UNKNOWN if _is_container(frame) else _called(frame, following)


def _called(frame: Frame, following: Frame) -> str:
    """Return the attribute that the line calls; with several, the underlined one, or one that fits the next frame."""
    names = _CALLED.findall(frame.call) or _CALLED.findall(frame.source[:500])
    names = [name for name in names if not name.removeprefix("_").startswith("forward")]
    if frame.call and frame.call.startswith("self.") and names:
        return _dotted(names[0])
    fitting = [name for name in names if bool(_NORM_NAME.search(name)) == _is_norm(following)]
    return _dotted((fitting or names)[0]) if len(fitting or names) == 1 else UNKNOWN


def _dotted(name: str) -> str:
    """Write an attribute as a module's name: ``layers[0].bn`` → ``layers.0.bn``; ``layers[i]`` → ``layers.*``."""

    def index(found: re.Match[str]) -> str:
        inside = found[1].strip("\"' ")
        literal = inside.isdecimal() or found[1].strip()[:1] in ("'", '"')
        return f".{inside if literal else UNKNOWN}"

    return _INDEX.sub(index, name)


def _is_norm(frame: Frame) -> bool:
    return _is_layer(frame) or _kind(frame) is not None


def _is_layer(frame: Frame) -> bool:
    return frame.function == "forward" and any(_in(frame, file) for file in _LAYER_FILES)


def _kind(frame: Frame) -> NormKind | None:
    return next((k for (file, name), k in _FUNCTIONS.items() if frame.function == name and _in(frame, file)), None)


def _is_wrapper(frame: Frame) -> bool:
    """Whether the frame is a library's: below the packages where there are some, as an environment can be named so."""
    return (
        _WRAPPERS.search(re.split(r"[\\/](?:site|dist)-packages[\\/]", frame.file)[-1].replace("\\", "/")) is not None
    )


def _is_container(frame: Frame) -> bool:
    return _in(frame, "torch/nn/modules/container.py")


def _in(frame: Frame, part: str) -> bool:
    return part in frame.file.replace("\\", "/")
