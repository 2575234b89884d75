"""Which layer failed, from the text of the error alone: lines such as ``x = self.bn1(x)`` lead down from the model.

TorchScript and threads (DataParallel) leave a traceback in words. Each line names a submodule or leaves it open; a
shape leaves only the layers with as many channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from types import FrameType

from torch import nn

from bnguard.model.layers import find_layers
from bnguard.runtime.classify import Classified
from bnguard.runtime.found import Found, names_that_fit
from bnguard.runtime.frames import modules_within

_FRAME = re.compile(r'^ *File "(?P<file>[^"]+)", line \d+, in (?P<function>\S+)$')
_CALL = re.compile(r"\bself((?:\.[A-Za-z_]\w*|\[-?\w+\])+)\(")
_NORM_FILES = ("/nn/modules/batchnorm.py", "/nn/modules/instancenorm.py", "/nn/modules/normalization.py")


def find_in_text(text: str, read: Classified, frames: Sequence[FrameType], model: nn.Module | None) -> Found | None:
    """Return the layer that the words lead to, or the candidates they leave; None where they are of something else."""
    if not _is_about_normalisation(text, read):
        return None
    root = model if model is not None else next((m for m in modules_within(frames) if find_layers(m)), None)
    if root is None:
        return Found("unknown", shape=read.shape)
    layers = [x for x in find_layers(root) if x.kind != "hand-written"]
    fit = names_that_fit(layers, read.shape) or names_that_fit(layers, None)
    reached = _reached(root, text)
    if reached is not None:
        fit = tuple(n for n in fit if reached.search(n)) or fit
    if len(fit) == 1:
        return Found("text", root, next(x.module for x in layers if x.name == fit[0]), shape=read.shape)
    return Found("unknown", root, candidates=fit, shape=read.shape)


def _is_about_normalisation(text: str, read: Classified) -> bool:
    if read.cause == "unknown":
        return False
    return read.cause == "one-value-per-channel" or re.search(r"batch_?norm", text, re.IGNORECASE) is not None


def _reached(root: nn.Module, text: str) -> re.Pattern[str] | None:
    """Return a pattern for the names that the frames lead to, None where there are no frames to follow."""
    steps = list(_steps(text))
    if not steps:
        return None
    prefix = r"(?:.*\.)?" if isinstance(root, (nn.DataParallel, nn.parallel.DistributedDataParallel)) else "^"
    return re.compile(prefix + "".join(steps) + "$")


def _steps(text: str) -> Iterator[str]:
    """Yield one piece of the pattern for each frame of a module's forward, until a normalisation layer's own."""
    lines = text.splitlines()
    pending = ""
    for i, line in enumerate(lines):
        frame = _FRAME.match(line)
        if frame is None or i + 1 >= len(lines):
            continue
        if frame["file"].endswith(_NORM_FILES):
            break
        if "/torch/" in frame["file"] and not frame["file"].endswith("/nn/modules/container.py"):
            continue
        call = _CALL.search(lines[i + 1])
        dot = r"\." if pending else ""
        pending = "yes"
        yield dot + (re.escape(_dotted(call[1])) if call else r"(?:[^.]+)")


def _dotted(chain: str) -> str:
    return chain.lstrip(".").replace("[", ".").replace("]", "")
