"""Which layer failed: from the frames of a forward or a backward, from a forward on shapes, from words alone."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from bnguard import _private_torch as private
from bnguard._diagnose.call import call_in, call_of
from bnguard._diagnose.classify import Classified
from bnguard._diagnose.failed_layer import (
    FailedLayer,
    as_layer,
    lines_of,
    module_of,
    modules_within,
    names_that_fit,
    owner_of,
    root_with,
)
from bnguard._diagnose.log_text import read_errors
from bnguard._diagnose.module_path import UNKNOWN, find_norm
from bnguard._facts.models import SourceLine
from bnguard._facts.norm_kinds import KINDS, place_of
from bnguard._models.inputs import ExampleInputs
from bnguard._models.layers import Call, Layer, find_layers, names_by_module, norms
from bnguard._models.wrappers import module_named, unwrap
from bnguard._trace.record import RecordedCall
from bnguard._trace.run_forward import Trace
from bnguard._trace.trace import Tracer
from bnguard._untouched import untouched_process
from bnguard._usercode import display_path, whose


def find_in_forward(error: BaseException, model: nn.Module | None, *, known: bool) -> FailedLayer | None:
    """Return the layer in whose call the traceback ends, or None.

    An error in the code of a hand-written layer, or after a direct call of ``torch.batch_norm``, counts only where the
    words of the error are ``known`` to be those of a normalisation.
    """
    lines = lines_of(error)
    frames = list(lines)
    for i in range(len(frames) - 1, -1, -1):
        frame = frames[i]
        call = call_in(frame)
        if call is not None:
            return _around_function(call, frames[: i + 1], _line(frames[i - 1], lines) if i else None, model)
        layer = _layer_running(frame)
        if layer is not None and (known or not layer.kind.measured):
            return _of_layer(layer, frames, model)
    return _direct_call(lines, model) if known else None


def _layer_running(frame: FrameType) -> Layer | None:
    """Return the layer whose own method this is; a hook gets the layer as its first argument too, but not as self."""
    code, module = frame.f_code, module_of(frame)
    if module is None or code.co_varnames[0] != "self" or code.co_name in private.RUN_HOOKS:
        return None
    return as_layer(module)


def _around_function(
    call: Call, frames: Sequence[FrameType], line: SourceLine | None, model: nn.Module | None
) -> FailedLayer | None:
    """Name the layer whose tensors the function got, else the module that called it.

    Without values the caller can be a compiler that runs the model in its own way: then the stack names nobody.
    """
    inner = _innermost(frames)
    root = _root(inner, frames, model) if inner is not None else model
    owner = owner_of(list(call.owners()), root) if root is not None else None
    if owner is None and not private.has_values(call.input):
        return None
    layer = owner if owner is not None else inner
    if layer is None:  # a call outside any module on the stack: a layer in sight may still own its tensors
        tensors = list(call.owners())
        root = _root_with_any(tensors, frames, None)
        layer = owner_of(tensors, root) if root is not None else None
    return FailedLayer("traceback", root, layer, call, line)


def _innermost(frames: Sequence[FrameType]) -> nn.Module | None:
    return next((m for f in reversed(frames) if (m := module_of(f)) is not None), None)


def _of_layer(layer: Layer, frames: Sequence[FrameType], model: nn.Module | None) -> FailedLayer:
    """Take the input from the frames of the layer's own methods."""
    names = ("input", "x", "inputs", "tensor")
    own = [f.f_locals for f in frames if module_of(f) is layer.module and f.f_code.co_name not in private.RUN_HOOKS]
    x = next((v for local in own for n in names if isinstance(v := local.get(n), Tensor)), None)
    call = call_of(layer, x) if x is not None else None
    return FailedLayer("traceback", _root(layer.module, frames, model), layer.module, call)


def _direct_call(lines: Mapping[FrameType, int], model: nn.Module | None) -> FailedLayer | None:
    """Recognise ``torch.batch_norm(…)`` and its kin in a module of the user: a function of C++ leaves no frame."""
    frames = list(lines)
    module = _innermost(frames)
    if module is None or whose(frames[-1].f_code.co_filename) not in ("user", "library"):
        return None
    source = linecache.getline(frames[-1].f_code.co_filename, lines[frames[-1]])
    if not any(place_of(f.name)[1] in source for kind in KINDS for f in kind.functions):
        return None
    return FailedLayer("traceback", _root(module, frames, model), module, line=_line(frames[-1], lines))


def _root(part: nn.Module, frames: Sequence[FrameType], model: nn.Module | None) -> nn.Module:
    if model is not None and any(m is part for m in model.modules()):
        return model
    root = root_with(part, frames)
    return part if root is None else root


def _root_with_any(tensors: Sequence[Tensor], frames: Sequence[FrameType], model: nn.Module | None) -> nn.Module | None:
    return model if model is not None else next((r for t in tensors if (r := root_with(t, frames)) is not None), None)


def _line(frame: FrameType, lines: Mapping[FrameType, int]) -> SourceLine:
    return SourceLine(display_path(frame.f_code.co_filename), lines[frame])


# ------------------------------------------------------------------------------------------------------- from the words


def find_in_text(
    text: str, read: Classified, frames: Sequence[FrameType], model: nn.Module | None
) -> FailedLayer | None:
    """Return the layer that the words lead to, or the candidates they leave; None where they are of something else."""
    is_batch_norm = read.cause != "unknown" and re.search(r"batch_?norm", text, re.IGNORECASE)
    if read.cause != "one-value-per-channel" and not is_batch_norm:
        return None
    root = model if model is not None else next((m for m in modules_within(frames) if find_layers(m)), None)
    if root is None:
        return FailedLayer("unknown", shape=read.shape)
    layers = [x for x in find_layers(root) if not x.kind.measured]
    fit = names_that_fit(layers, read.shape) or names_that_fit(layers, None)
    path = _path_in(text)
    if path is not None:
        fit = tuple(n for n in fit if path.search(n)) or fit
    if len(fit) == 1:
        return FailedLayer("text", root, next(x.module for x in layers if x.name == fit[0]), shape=read.shape)
    return FailedLayer("unknown", root, candidates=fit, shape=read.shape)


def _path_in(text: str) -> re.Pattern[str] | None:
    """Return a pattern for the names that the frames in the text lead to, or None where there are none to follow."""
    found = next((f for error in read_errors(text) if (f := find_norm(error.frames)) is not None), None)
    if found is None or not found.path:
        return None
    steps = [".+" if step == UNKNOWN else re.escape(step) for step in found.path.split(".")]
    return re.compile(r"(?:^|\.)" + r"\.".join(steps) + "$")


# ------------------------------------------------ from the graph, when nothing but ``loss.backward()`` is in the frames


_ENTRANCES = {torch.autograd.backward.__code__: "tensors", torch.autograd.grad.__code__: "outputs"}


def find_in_backward(frames: Sequence[FrameType], model: nn.Module | None) -> FailedLayer | None:
    """Return the layer whose backward failed; None where no backward failed, or that of another operation."""
    frame = next((f for f in reversed(frames) if f.f_code in _ENTRANCES), None)
    if frame is None or any(module_of(f) is not None for f in frames[frames.index(frame) :]):
        return None  # a forward within the backward (activation checkpointing) has frames of its own
    nodes = sorted(_nodes(frame.f_locals[_ENTRANCES[frame.f_code]]), key=private.order_in_backward, reverse=True)
    norms = [n for n in nodes if "BatchNorm" in n.name()]
    if not norms:
        return None
    if frame.f_locals.get("retain_graph") or frame.f_locals.get("create_graph"):
        return _any_of(norms, frames, model)  # nothing is freed, so nothing tells how far it came
    failed, state = next(((n, s) for n in nodes if (s := private.saved_state(n)) not in ("freed", None)), (None, None))
    if failed is None or failed not in norms:
        return None
    return _of_node(failed, state == "there", frames, model)


def _nodes(outputs: Any) -> Iterator[Any]:  # noqa: ANN401 - a tensor or a sequence of them
    todo = [t.grad_fn for t in ([outputs] if isinstance(outputs, Tensor) else outputs) if isinstance(t, Tensor)]
    seen: set[Any] = set()
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            todo += [following for following, _ in node.next_functions]


def _of_node(node: Any, readable: bool, frames: Sequence[FrameType], model: nn.Module | None) -> FailedLayer:  # noqa: ANN401
    tensors = _tensors_of(node, readable)
    root = _root_with_any(tensors, frames, model)
    layer = owner_of(tensors, root) if root is not None else None
    call = _call_of(node, layer) if readable else None
    if layer is not None:
        return FailedLayer("backward", root, layer, call)
    names = tuple(x.name for x in find_layers(root)) if root is not None else ()
    return FailedLayer("backward", root, call=call, candidates=names)


def _tensors_of(node: Any, readable: bool) -> list[Tensor]:  # noqa: ANN401 - a node
    """Return parameters and buffers by which the node's layer is recognised; the weight needs no unpacking."""
    leaves = [getattr(n, "variable", None) for n, _ in node.next_functions if n is not None]
    saved = [private.saved_value(node, name) for name in ("running_mean", "weight")] if readable else []
    return [t for t in (*saved, *leaves) if isinstance(t, Tensor)]


def _call_of(node: Any, layer: nn.Module | None) -> Call | None:  # noqa: ANN401 - a node
    names = ("input", "weight", "running_mean", "running_var", "training", "eps")
    saved = {n: private.saved_value(node, n) for n in names}
    if not isinstance(saved["input"], Tensor):
        return None
    known = None if layer is None else as_layer(layer)
    if known is not None:
        return call_of(known, saved["input"])
    saved = {n: v for n, v in saved.items() if v is not None}
    return norms().functions[F.batch_norm].call((), {"running_mean": None, "running_var": None} | saved)


def _any_of(norms: Sequence[Any], frames: Sequence[FrameType], model: nn.Module | None) -> FailedLayer | None:
    weights = [t for n in norms for t in _tensors_of(n, readable=False)]
    root = _root_with_any(weights, frames, model)
    if root is None:
        return None
    in_graph = [m for t in weights if (m := owner_of([t], root)) is not None]
    names = tuple(x.name for x in find_layers(root) if x.module in in_graph)
    return FailedLayer("backward", root, candidates=names)


# ------------------------------------------------------------------ from a forward on shapes, when its frames are lost


_REPLICA = re.compile(r"in replica (\d+) on device")


@dataclass(frozen=True)
class _ForwardCall:
    """A model and what its forward was called with."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def find_by_retracing(error: BaseException, read: Classified, frames: Sequence[FrameType]) -> FailedLayer | None:
    """Return the layer at which a forward on shapes would fail in the same way, or None."""
    call = _innermost_call(str(error), frames)
    if call is None or read.cause == "unknown" or isinstance(call.model, private.script_module_type()):
        return None
    inner = unwrap(call.model)
    trace = _trace(inner, call)
    recorded = [c for c in trace.calls if c.owner is not None]
    names = {id(m): n for m, n in names_by_module(trace.prepared.model).items()}
    failing = [c for c in recorded if _fails(c, read)]
    if not failing:
        fit = [c for c in recorded if read.shape in (None, c.call.shape)]
        candidates = tuple(dict.fromkeys(names[id(c.owner)][0] for c in fit))
        return FailedLayer("retrace", call.model, candidates=candidates, shape=read.shape) if candidates else None
    first = failing[0]
    layer = module_named(inner, names[id(first.owner)][0])
    return FailedLayer("retrace", call.model, layer, traced=first.call)


def _innermost_call(text: str, frames: Sequence[FrameType]) -> _ForwardCall | None:
    """Return the innermost module that was called, with its arguments."""
    for frame in reversed(frames):
        module, local = module_of(frame), frame.f_locals
        if module is None:
            continue
        if isinstance(module, nn.DataParallel) and isinstance(local.get("inputs"), (tuple, list)):
            return _of_replica(module, text, local)
        if {"args", "kwargs"} <= local.keys():
            return _ForwardCall(module, tuple(local["args"]), dict(local["kwargs"]))
    return None


def _of_replica(parallel: nn.DataParallel[Any], text: str, local: dict[str, Any]) -> _ForwardCall:
    """Take the piece of the batch that the failing replica got, once the batch was scattered."""
    inputs, kwargs = local["inputs"], local.get("module_kwargs") or local.get("kwargs") or {}
    if not (inputs and isinstance(inputs[0], (tuple, list))):
        return _ForwardCall(parallel, tuple(inputs), dict(kwargs) if isinstance(kwargs, dict) else {})
    replica = _REPLICA.search(text)
    index = min(int(replica[1]) if replica else 0, len(inputs) - 1)
    own = kwargs[index] if isinstance(kwargs, (tuple, list)) and index < len(kwargs) else {}
    return _ForwardCall(parallel, tuple(inputs[index]), dict(own))


def _trace(model: nn.Module, call: _ForwardCall) -> Trace:
    """Run a structural copy on meta tensors, or on FakeTensors; never with values, which would cost a whole step."""
    inputs = ExampleInputs(lambda _: (call.args, call.kwargs), "given")
    device = next((p.device.type for p in model.parameters()), "cpu")
    with untouched_process(), torch.no_grad():
        tracer = Tracer(model, owned=False, mode=None, device="cuda" if device == "cuda" else "cpu")
        trace = tracer.trace(inputs, 1, "meta")
        if trace.shapes_were_not_enough and private.fake_tensor_types() is not None:
            again = tracer.trace(inputs, 1, "fake")
            return again if again.calls else trace
        return trace


def _fails(recorded: RecordedCall, read: Classified) -> bool:
    if read.cause == "one-value-per-channel":
        return recorded.call.raises and read.shape in (None, recorded.call.shape)
    return read.cause == "dtype-mismatch" and recorded.call.rejected is not None
