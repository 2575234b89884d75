"""Which layer failed, from the frames of a forward: the plain case."""

from __future__ import annotations

import linecache
from collections.abc import Mapping, Sequence
from types import FrameType

from torch import Tensor, nn

from bnguard.facts import SourceLine
from bnguard.model import private
from bnguard.model.layers import Layer
from bnguard.model.norms import Call
from bnguard.norm_kinds import KINDS, place_of
from bnguard.runtime.call import call_in, call_of
from bnguard.runtime.found import Found, as_layer, owner_of
from bnguard.runtime.frames import lines_of, module_of, root_with
from bnguard.usercode import display_path, whose


def find_in_forward(error: BaseException, model: nn.Module | None, *, known: bool) -> Found | None:
    """Return the layer in whose call the traceback ends, or None.

    Args:
        error: with its traceback.
        model: whose names are wanted; None to take the outermost module on the stack that holds the layer.
        known: whether the words of the error are those of a normalisation: an error in the code of a hand-written
            layer, or after a direct call of ``torch.batch_norm``, counts only then.

    """
    lines = lines_of(error)
    frames = list(lines)
    for i in range(len(frames) - 1, -1, -1):
        frame = frames[i]
        call = call_in(frame)
        if call is not None:
            return _around_function(call, frames[: i + 1], _line(frames[i - 1], lines) if i else None, model)
        layer = _layer_running(frame)
        if layer is not None:
            kind = as_layer(layer)
            if kind is not None and (known or not kind.kind.measured):
                return _of_layer(kind, frames, model)
    return _direct_call(lines, model) if known else None


def _layer_running(frame: FrameType) -> nn.Module | None:
    """Return the layer whose own method this is; a hook gets the layer as its first argument too, but not as self."""
    code, module = frame.f_code, module_of(frame)
    if module is None or code.co_varnames[0] != "self" or code.co_name in private.RUN_HOOKS:
        return None
    return module if as_layer(module) is not None else None


def _around_function(
    call: Call, frames: Sequence[FrameType], line: SourceLine | None, model: nn.Module | None
) -> Found | None:
    """Name the layer whose tensors the function got, else the module that called it.

    Without values the caller can be a compiler that runs the model in its own way: then the stack names nobody.
    """
    inner = next((m for f in reversed(frames) if (m := module_of(f)) is not None), None)
    root = _root(inner, frames, model) if inner is not None else model
    owner = owner_of(list(call.owners()), root) if root is not None else None
    if owner is None and not private.has_values(call.input):
        return None
    layer = owner if owner is not None else inner
    return Found("traceback", root, layer, call, line) if layer is not None else _nameless(call, frames, line)


def _nameless(call: Call, frames: Sequence[FrameType], line: SourceLine | None) -> Found:
    """Return a call outside any module on the stack: a layer in sight may still own its tensors."""
    for tensor in call.owners():
        root = root_with(tensor, frames)
        if root is not None:
            return Found("traceback", root, owner_of([tensor], root), call, line)
    return Found("traceback", call=call, line=line)


def _of_layer(layer: Layer, frames: Sequence[FrameType], model: nn.Module | None) -> Found:
    """Take the input from the frames of the layer's own methods."""
    names = ("input", "x", "inputs", "tensor")
    own = [f.f_locals for f in frames if module_of(f) is layer.module and f.f_code.co_name not in private.RUN_HOOKS]
    given = next((v for local in own for n in names if isinstance(v := local.get(n), Tensor)), None)
    call = call_of(layer, given) if given is not None else None
    return Found("traceback", _root(layer.module, frames, model), layer.module, call)


def _direct_call(lines: Mapping[FrameType, int], model: nn.Module | None) -> Found | None:
    """Recognise ``torch.batch_norm(…)`` and its kin in a module of the user: a function of C++ leaves no frame."""
    frames = list(lines)
    module = next((m for f in reversed(frames) if (m := module_of(f)) is not None), None)
    if module is None or whose(frames[-1].f_code.co_filename) not in ("user", "library"):
        return None
    source = linecache.getline(frames[-1].f_code.co_filename, lines[frames[-1]])
    if not any(place_of(f.name)[1] in source for kind in KINDS for f in kind.functions):
        return None
    return Found("traceback", _root(module, frames, model), module, line=_line(frames[-1], lines))


def _root(part: nn.Module, frames: Sequence[FrameType], model: nn.Module | None) -> nn.Module:
    if model is not None and any(m is part for m in model.modules()):
        return model
    root = root_with(part, frames)
    return part if root is None else root


def _line(frame: FrameType, lines: Mapping[FrameType, int]) -> SourceLine:
    return SourceLine(display_path(frame.f_code.co_filename), lines[frame])
