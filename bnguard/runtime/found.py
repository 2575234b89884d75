"""What the search for a failed layer came to: the layer and its call, or the layers that it can have been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bnguard.facts import Mode, NormCall, SourceLine
from bnguard.model.assigned import assignment_line
from bnguard.model.layers import Layer, find_layers, layers_by_tensor, names_by_module
from bnguard.model.norms import Call
from bnguard.runtime.call import facts_of
from bnguard.runtime.diagnosis import Place


@dataclass(frozen=True)
class Found:
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

    place: Place
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
