"""Which layer failed when its frames are lost: run the model once more, on shapes, with what it was given.

``torch.compile`` raises an error of its own from inside the compiler, and DataParallel raises a copy made in another
thread. What the wrapper was called with is still in its frame.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import nn

from bnguard.model import private
from bnguard.model.inputs import ExampleInputs
from bnguard.model.layers import names_by_module
from bnguard.model.record import Recorded
from bnguard.model.trace import Subject, Trace
from bnguard.model.twin import unwrap
from bnguard.runtime.classify import Classified
from bnguard.runtime.found import Found
from bnguard.runtime.frames import module_of
from bnguard.untouched import untouched_process

_REPLICA = re.compile(r"in replica (\d+) on device")


@dataclass(frozen=True)
class _Given:
    """A model and what its forward was called with."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def find_by_retracing(error: BaseException, read: Classified, frames: Sequence[FrameType]) -> Found | None:
    """Return the layer at which a forward on shapes would fail in the same way, or None."""
    given = _given(str(error), frames)
    if given is None or read.cause == "unknown" or isinstance(given.model, private.script_module_type()):
        return None
    inner, prefix = unwrap(given.model)
    trace = _trace(inner, given)
    calls = [c for c in trace.calls if c.owner is not None]
    names = {id(m): n for m, n in names_by_module(trace.stage.model).items()}
    failing = [c for c in calls if _fails(c, read)]
    if not failing:
        fit = [c for c in calls if read.shape in (None, c.call.shape)]
        candidates = tuple(dict.fromkeys(prefix + names[id(c.owner)][0] for c in fit))
        return Found("retrace", given.model, candidates=candidates, shape=read.shape) if candidates else None
    first = failing[0]
    layer = inner.get_submodule(names[id(first.owner)][0])
    return Found("retrace", given.model, layer, traced=first.call)


def _given(text: str, frames: Sequence[FrameType]) -> _Given | None:
    """Return the innermost module that was called, with its arguments."""
    for frame in reversed(frames):
        module, local = module_of(frame), frame.f_locals
        if module is None:
            continue
        if isinstance(module, nn.DataParallel) and isinstance(local.get("inputs"), (tuple, list)):
            return _of_replica(module, text, local)
        if {"args", "kwargs"} <= local.keys():
            return _Given(module, tuple(local["args"]), dict(local["kwargs"]))
    return None


def _of_replica(parallel: nn.DataParallel[Any], text: str, local: dict[str, Any]) -> _Given:
    """Take the piece of the batch that the failing replica got, once the batch was scattered."""
    inputs, kwargs = local["inputs"], local.get("module_kwargs") or local.get("kwargs") or {}
    replica = _REPLICA.search(text)
    index = int(replica[1]) if replica else 0
    if not (inputs and isinstance(inputs[0], (tuple, list))):
        return _Given(parallel, tuple(inputs), dict(kwargs) if isinstance(kwargs, dict) else {})
    index = min(index, len(inputs) - 1)
    own = kwargs[index] if isinstance(kwargs, (tuple, list)) and index < len(kwargs) else {}
    return _Given(parallel, tuple(inputs[index]), dict(own))


def _trace(model: nn.Module, given: _Given) -> Trace:
    """Run a structural copy on meta tensors, or on FakeTensors; never with values, which would cost a whole step."""
    inputs = ExampleInputs(lambda _: (given.args, given.kwargs), "given")
    device = next((p.device.type for p in model.parameters()), "cpu")
    with untouched_process(), torch.no_grad():
        subject = Subject(model, owned=False, mode=None, device="cuda" if device == "cuda" else "cpu")
        trace = subject.trace(inputs, 1, "meta")
        if trace.shapes_were_not_enough and private.fake_tensor_types() is not None:
            again = subject.trace(inputs, 1, "fake")
            return again if again.calls else trace
        return trace


def _fails(recorded: Recorded, read: Classified) -> bool:
    if read.cause == "one-value-per-channel":
        return recorded.call.raises and read.shape in (None, recorded.call.shape)
    return read.cause == "dtype-mismatch" and recorded.call.rejected is not None
