"""Finding the normalisation layers of a model, and what each is configured to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from bnguard.facts import NormKind
from bnguard.model import private

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

_MEANS = ("running_mean", "moving_mean", "running_avg", "moving_average", "moving_avg", "running_mu")
_VARS = ("running_var", "moving_var", "moving_variance", "running_std", "moving_std", "running_variance")


@dataclass(frozen=True)
class Layer:
    """A normalisation layer as it stands in the model; all names of a shared instance together."""

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
    num_groups: int | None

    @property
    def name(self) -> str:
        """The first dotted path in ``named_modules`` order; '' for the root."""
        return self.names[0]


def find_layers(model: nn.Module) -> list[Layer]:
    """Return every normalisation layer in ``named_modules`` order, each instance once.

    BatchNorm, SyncBatchNorm, InstanceNorm (lazy ones and subclasses included), GroupNorm, and modules that keep
    running statistics of their own (``hand-written``), such as a from-scratch BatchNorm or FrozenBatchNorm2d.
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
    return [_as_layer(module, names, kind) for module, names in modules.items() if (kind := _kind(module)) is not None]


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
    own = [p for n, p in module.named_parameters(recurse=False) if n in ("weight", "bias", "gamma", "beta")]
    pair = running_statistics(module)
    features = (
        pair[0].numel()
        if kind == "hand-written" and pair is not None
        else _first(module, ("num_features", "num_channels"))
    )
    momentum, eps = _first(module, ("momentum",)), _first(module, ("eps", "epsilon"))
    return Layer(
        module=module,
        names=names,
        type=_type_name(module),
        kind=kind,
        num_features=features if isinstance(features, int) and features > 0 else None,
        affine=bool(own) or getattr(module, "affine", False) or private.own_tensor(module, "weight") is not None,
        affine_trains=any(p.requires_grad for p in own),
        track_running_stats=pair is not None or (kind == "batch" and _is_told_to_track(module)),
        momentum=float(momentum) if isinstance(momentum, (int, float)) else None,
        eps=float(eps) if isinstance(eps, (int, float)) else 1e-5,
        num_groups=module.num_groups if isinstance(module, nn.GroupNorm) else None,
    )


def _is_told_to_track(module: nn.Module) -> bool:
    """Whether a lazy layer will have running statistics after its first forward."""
    return bool(getattr(module, "track_running_stats", False))


def _first(module: nn.Module, names: tuple[str, ...]) -> object:
    return next((v for n in names if (v := getattr(module, n, None)) is not None), None)


def _kind(module: nn.Module) -> NormKind | None:
    cls: Any = type(module)  # mypy does not see that a class of modules can be hashed
    kind = _kind_of_class(cls)
    if kind == "batch" and isinstance(module, private.script_module_type()):
        kind = "batch" if _type_name(module) in _SCRIPTED_BATCH_NORMS else None
    if kind == "hand-written" and (private.has_children(module) or running_statistics(module) is None):
        return None  # nothing kept, or kept for a normalisation layer inside
    return kind


@lru_cache(maxsize=4096)
def _kind_of_class(cls: Any) -> NormKind | None:  # noqa: ANN401 - a class, see the caller
    """Return the kind that a class can be; ``hand-written`` then depends on what the instance keeps."""
    if issubclass(cls, private.batch_norm_base()) or issubclass(cls, private.script_module_type()):
        return "batch"
    if issubclass(cls, private.instance_norm_base()):
        return "instance"
    if issubclass(cls, nn.GroupNorm):
        return "group"
    return None if cls.__module__.startswith("torch.nn.") else "hand-written"


_SCRIPTED_BATCH_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")


def _type_name(module: nn.Module) -> str:
    script = private.script_module_type()
    if isinstance(module, script):
        return str(getattr(module, "original_name", type(module).__name__))
    return type(module).__name__


def running_statistics(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return the module's running mean and variance (or deviation), or None without both."""
    mean = next((t for n in _MEANS if (t := private.own_tensor(module, n)) is not None), None)
    if mean is None:
        return None
    var = next((t for n in _VARS if (t := private.own_tensor(module, n)) is not None), None)
    return None if var is None else (mean, var)
