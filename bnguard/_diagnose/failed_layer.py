"""What the search for a failed layer came to: the layer and its call, or the layers that it can have been."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch import Tensor, nn

from bnguard._diagnose.call import facts_of
from bnguard._facts.diagnosis import LocatedBy
from bnguard._facts.models import Mode, NormCall, SourceLine
from bnguard._models.layers import Call, Layer, find_layers, layers_by_tensor, names_by_module
from bnguard._models.origin import assignment_line
from bnguard._usercode import whose


@dataclass(frozen=True)
class FailedLayer:
    """A failed layer, or the candidates for it. Holds modules: it lives as long as the diagnosing does.

    Attributes:
        root: the model whose dotted names are used, None where no model is in sight.
        layer: the normalisation layer, or the module around a functional call.
        call: the failed call, where its frame or its node is still there.
        line: of a functional call.
        candidates: where the layer is not known.
        shape: of the input, where the call is not there but its shape is known.
        traced: the call as a forward on shapes shows it.

    """

    place: LocatedBy
    root: nn.Module | None = None
    layer: nn.Module | None = None
    call: Call | None = None
    line: SourceLine | None = None
    candidates: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    traced: NormCall | None = None

    def facts(self) -> dict[str, Any]:
        """Return what is known of the layer and its call, under the names of ``Diagnosis``."""
        facts: dict[str, Any] = {"place": self.place, "candidates": self.candidates}
        if self.shape is not None:
            facts |= {"shape": self.shape, "values_per_channel": NormCall(self.shape, 0, True).values_per_channel}
        if self.traced is not None:
            same = ("shape", "values_per_channel", "dtype", "param_dtype", "batch_statistics", "backend")
            facts |= {name: getattr(self.traced, name) for name in same}
        if self.layer is not None:
            facts |= self._layer_facts(self.layer)
        return facts | (facts_of(self.call) if self.call is not None else {})

    def _layer_facts(self, layer: nn.Module) -> dict[str, Any]:
        root = self.root if self.root is not None else layer
        names = names_by_module(root).get(layer) or ("",)
        known = as_layer(layer)
        mode: Mode = "train" if layer.training else "eval"
        return {
            "layer": names[0],
            "aliases": names[1:],
            "layer_type": "functional" if known is None else known.type,
            "kind": None if known is None else known.kind.name,
            "num_features": None if known is None else known.num_features,
            "mode": mode,
            "source": self.line if known is None else assignment_line(root, names[0]),
        }


def as_layer(module: nn.Module) -> Layer | None:
    """Return the module as a normalisation layer, or None if it is none itself."""
    return next((x for x in find_layers(module) if x.module is module), None)


def owner_of(tensors: Sequence[Tensor], root: nn.Module) -> nn.Module | None:
    """Return the layer of the model that has one of these running means or weights, by identity."""
    by_tensor = layers_by_tensor(find_layers(root))
    return next((by_tensor[id(t)] for t in tensors if id(t) in by_tensor), None)


def names_that_fit(layers: Sequence[Layer], shape: tuple[int, ...] | None) -> tuple[str, ...]:
    """Return the names of the layers that can have met an input of this shape."""
    channels = shape[1] if shape is not None and len(shape) > 1 else None
    return tuple(x.name for x in layers if channels is None or x.num_features in (channels, None))


# ------------------------------------------------- the frames that an exception passed through, and the modules in them


_MOST_NAMES = 2000
"""A frame or object with more names than this is not searched for a model."""


def lines_of(error: BaseException) -> dict[FrameType, int]:
    """Return the frames of the traceback, the outermost first, and the line at which each was left.

    A frame's own ``f_lineno`` has moved on where a ``with`` block was closed.
    """
    return dict(traceback.walk_tb(error.__traceback__))


def module_of(frame: FrameType) -> nn.Module | None:
    """Return the module whose method this frame runs, or None."""
    code = frame.f_code
    if not code.co_argcount:
        return None
    first = frame.f_locals.get(code.co_varnames[0])
    return first if isinstance(first, nn.Module) else None


def modules_within(frames: Sequence[FrameType]) -> Iterator[nn.Module]:
    """Yield the modules that the methods on the stack belong to, then those the user's frames can see.

    The second kind is for a stack without any method of a module, such as that of ``loss.backward()``: the model is
    a local or global variable there or in a caller, or an attribute of one (a trainer).
    """
    # a module's truth is that of its __len__, which torch.compile's wrapper has and may refuse
    yield from (module for frame in frames if (module := module_of(frame)) is not None)
    above = (frame for frame, _ in traceback.walk_stack(frames[0].f_back)) if frames and frames[0].f_back else ()
    for frame in (*frames, *above):  # the traceback's first frame is that of the guard
        if whose(frame.f_code.co_filename) in ("user", "library", "python"):
            yield from _visible(frame)


def _visible(frame: FrameType) -> Iterator[nn.Module]:
    values = list(frame.f_locals.values())[:_MOST_NAMES]
    if frame.f_globals is not frame.f_locals:
        values += [frame.f_globals[n] for n in frame.f_code.co_names if n in frame.f_globals]
    yield from (v for v in values if isinstance(v, nn.Module))
    for value in values:
        inside = getattr(value, "__dict__", None)
        if isinstance(inside, dict) and not isinstance(value, (nn.Module, type)) and len(inside) < _MOST_NAMES:
            yield from (v for v in inside.values() if isinstance(v, nn.Module))


def root_with(part: nn.Module | Tensor, frames: Sequence[FrameType]) -> nn.Module | None:
    """Return the first module in sight that holds this module, parameter or buffer."""
    for module in modules_within(frames):
        held = module.modules() if isinstance(part, nn.Module) else (*module.parameters(), *module.buffers())
        if any(one is part for one in held):
            return module
    return None
