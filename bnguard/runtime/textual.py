"""Which layer failed, from the words of the error alone: TorchScript and threads (DataParallel) leave frames there.

The frames lead to a path such as ``blocks.*.norm``; a shape leaves only the layers with as many channels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import FrameType

from torch import nn

from bnguard.model.layers import find_layers
from bnguard.runtime.classify import Classified
from bnguard.runtime.found import Found, names_that_fit
from bnguard.runtime.frames import modules_within
from bnguard.runtime.logtext import read_errors
from bnguard.runtime.module_path import UNKNOWN, find_norm


def find_in_text(text: str, read: Classified, frames: Sequence[FrameType], model: nn.Module | None) -> Found | None:
    """Return the layer that the words lead to, or the candidates they leave; None where they are of something else."""
    if not _is_about_normalisation(text, read):
        return None
    root = model if model is not None else next((m for m in modules_within(frames) if find_layers(m)), None)
    if root is None:
        return Found("unknown", shape=read.shape)
    layers = [x for x in find_layers(root) if not x.kind.measured]
    fit = names_that_fit(layers, read.shape) or names_that_fit(layers, None)
    reached = _reached(text)
    if reached is not None:
        fit = tuple(n for n in fit if reached.search(n)) or fit
    if len(fit) == 1:
        return Found("text", root, next(x.module for x in layers if x.name == fit[0]), shape=read.shape)
    return Found("unknown", root, candidates=fit, shape=read.shape)


def _is_about_normalisation(text: str, read: Classified) -> bool:
    if read.cause == "unknown":
        return False
    return read.cause == "one-value-per-channel" or re.search(r"batch_?norm", text, re.IGNORECASE) is not None


def _reached(text: str) -> re.Pattern[str] | None:
    """Return a pattern for the names that the frames in the text lead to, or None where there are none to follow."""
    found = next((f for error in read_errors(text) if (f := find_norm(error.frames)) is not None), None)
    if found is None or not found.path:
        return None
    steps = [".+" if step == UNKNOWN else re.escape(step) for step in found.path.split(".")]
    return re.compile(r"(?:^|\.)" + r"\.".join(steps) + "$")
