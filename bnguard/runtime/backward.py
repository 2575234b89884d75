"""Which BatchNorm failed when nothing but ``loss.backward()`` is in the frames: the graph itself remembers.

The engine runs the nodes of a graph from the youngest to the oldest and frees what a node saved once it has run. So the
youngest node that still holds its tensors is the one that failed. That costs nothing until something fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from bnguard.model import private
from bnguard.model.layers import find_layers
from bnguard.model.norms import Call, norms
from bnguard.runtime.call import call_of
from bnguard.runtime.found import Found, as_layer, owner_of
from bnguard.runtime.frames import module_of, root_with

_ENTRANCES = {torch.autograd.backward.__code__: "tensors", torch.autograd.grad.__code__: "outputs"}


def find_in_backward(frames: Sequence[FrameType], model: nn.Module | None) -> Found | None:
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


def _of_node(node: Any, readable: bool, frames: Sequence[FrameType], model: nn.Module | None) -> Found:  # noqa: ANN401
    tensors = _tensors_of(node, readable)
    root = model if model is not None else next((r for t in tensors if (r := root_with(t, frames)) is not None), None)
    layer = owner_of(tensors, root) if root is not None else None
    call = _call_of(node, layer) if readable else None
    if layer is not None:
        return Found("backward", root, layer, call)
    names = tuple(x.name for x in find_layers(root)) if root is not None else ()
    return Found("backward", root, call=call, candidates=names)


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


def _any_of(norms: Sequence[Any], frames: Sequence[FrameType], model: nn.Module | None) -> Found | None:
    weights = [t for n in norms for t in _tensors_of(n, readable=False)]
    root = model if model is not None else next((r for t in weights if (r := root_with(t, frames)) is not None), None)
    if root is None:
        return None
    in_graph = [m for t in weights if (m := owner_of([t], root)) is not None]
    names = tuple(x.name for x in find_layers(root) if x.module in in_graph)
    return Found("backward", root, candidates=names)
