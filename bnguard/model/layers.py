"""Finding the normalisation layers of a model, and what each is configured to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from bnguard.model import private
from bnguard.model.norms import Norms, keeps, norms
from bnguard.norm_kinds import ATTRIBUTES, NormKind

WEIGHTED = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)
"""Layers whose output channels are each a sum of the input, with weights and a bias of their own."""


@dataclass(frozen=True)
class Layer:
    """A normalisation layer as it stands in the model; all names of a shared instance together.

    ``options`` are those of its kind, such as ``num_groups``.
    """

    module: nn.Module
    names: tuple[str, ...]
    type: str
    kind: NormKind
    num_features: int | None
    affine: bool
    affine_trains: bool
    track_running_stats: bool
    momentum: float | None
    eps: float
    options: Mapping[str, Any] = field(hash=False)

    @property
    def name(self) -> str:
        """The first dotted path in ``named_modules`` order; '' for the root."""
        return self.names[0]


def find_layers(model: nn.Module) -> list[Layer]:
    """Return every normalisation layer in ``named_modules`` order, each instance once.

    Those of the classes that ``bnguard.norm_kinds`` knows, and modules that keep running statistics of their own, such
    as a from-scratch BatchNorm or FrozenBatchNorm2d.
    """
    return layers_among(names_by_module(model))


def names_by_module(model: nn.Module) -> dict[nn.Module, tuple[str, ...]]:
    """Return every module of the model with all its dotted paths, in ``named_modules`` order."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in private.named_modules(model):
        names.setdefault(module, []).append(name)
    return {module: tuple(paths) for module, paths in names.items()}


def layers_among(modules: Mapping[nn.Module, tuple[str, ...]]) -> list[Layer]:
    """Return the normalisation layers among these modules, in their order."""
    known = norms()
    kinds = ((module, names, _kind(module, known)) for module, names in modules.items())
    return [_as_layer(module, names, kind) for module, names, kind in kinds if kind is not None]


def layers_by_tensor(layers: list[Layer]) -> Mapping[int, nn.Module]:
    """Map the identity of each layer's running mean and weight to its module: a call names its layer by them."""
    found: dict[int, nn.Module] = {}
    for layer in layers:
        for name in ("running_mean", "weight"):
            tensor = getattr(layer.module, name, None)
            if isinstance(tensor, Tensor):
                found.setdefault(id(tensor), layer.module)
    return found


def _as_layer(module: nn.Module, names: tuple[str, ...], kind: NormKind) -> Layer:
    affine = (*ATTRIBUTES["weight"], *ATTRIBUTES["bias"])
    own = [p for n, p in module.named_parameters(recurse=False) if n in affine]
    pair = running_statistics(module)
    features = pair[0].numel() if kind.measured and pair is not None else _first(module, "num_features")
    momentum, eps = _first(module, "momentum"), _first(module, "eps")
    return Layer(
        module=module,
        names=names,
        type=_type_name(module),
        kind=kind,
        num_features=features if isinstance(features, int) and features > 0 else None,
        affine=bool(own) or getattr(module, "affine", False) or private.own_tensor(module, "weight") is not None,
        affine_trains=any(p.requires_grad for p in own),
        track_running_stats=pair is not None or (kind.running_statistics and _is_told_to_track(module)),
        momentum=float(momentum) if isinstance(momentum, (int, float)) else None,
        eps=float(eps) if isinstance(eps, (int, float)) else 1e-5,
        options={name: getattr(module, name) for name in kind.options},
    )


def _is_told_to_track(module: nn.Module) -> bool:
    """Whether a lazy layer will have running statistics after its first forward."""
    return bool(getattr(module, "track_running_stats", False))


def _first(module: nn.Module, word: str) -> object:
    return next((v for n in ATTRIBUTES[word] if (v := getattr(module, n, None)) is not None), None)


def _kind(module: nn.Module, known: Norms) -> NormKind | None:
    if isinstance(module, private.script_module_type()):
        return known.kind_of_scripted(_type_name(module))
    kind = known.kind_of_class(type(module))
    if kind is not None and kind.measured and (private.has_children(module) or running_statistics(module) is None):
        return None  # nothing kept, or kept for a normalisation layer inside
    return kind


def _type_name(module: nn.Module) -> str:
    script = private.script_module_type()
    if isinstance(module, script):
        return str(getattr(module, "original_name", type(module).__name__))
    return type(module).__name__


def running_statistics(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return the module's running mean and variance (or deviation), or None without both."""
    mean = keeps(module, "running_mean")
    var = None if mean is None else keeps(module, "running_var")
    return None if mean is None or var is None else (mean, var)
