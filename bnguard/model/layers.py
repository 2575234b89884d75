"""Finding the normalisation layers of a model, and what each is configured to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from bnguard.facts import NormKind
from bnguard.model import private

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
    names: dict[int, list[str]] = {}
    modules: dict[int, nn.Module] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
        modules[id(module)] = module
    return [layer for key, module in modules.items() for layer in _as_layer(module, tuple(names[key]))]


def layers_by_tensor(layers: list[Layer]) -> Mapping[int, nn.Module]:
    """Map the identity of each layer's running mean and weight to its module: a call names its layer by them."""
    found: dict[int, nn.Module] = {}
    for layer in layers:
        for name in ("running_mean", "weight"):
            tensor = getattr(layer.module, name, None)
            if isinstance(tensor, Tensor):
                found.setdefault(id(tensor), layer.module)
    return found


def _as_layer(module: nn.Module, names: tuple[str, ...]) -> Iterator[Layer]:
    kind = _kind(module)
    if kind is None:
        return
    weight = getattr(module, "weight", None)
    own = [p for n, p in module.named_parameters(recurse=False) if n in ("weight", "bias", "gamma", "beta")]
    features = getattr(module, "num_features", getattr(module, "num_channels", None))
    mean = running_statistics(module)
    if kind == "hand-written" and mean is not None:
        features = mean[0].numel()
    momentum = getattr(module, "momentum", None)
    eps = getattr(module, "eps", getattr(module, "epsilon", 1e-5))
    yield Layer(
        module=module,
        names=names,
        type=_type_name(module),
        kind=kind,
        num_features=features if isinstance(features, int) and features > 0 else None,
        affine=isinstance(weight, Tensor) or bool(own),
        affine_trains=any(p.requires_grad for p in own),
        track_running_stats=mean is not None,
        momentum=float(momentum) if isinstance(momentum, (int, float)) else None,
        eps=float(eps) if isinstance(eps, (int, float)) else 1e-5,
        num_groups=module.num_groups if isinstance(module, nn.GroupNorm) else None,
    )


def _kind(module: nn.Module) -> NormKind | None:
    original = _type_name(module)
    if isinstance(module, private.batch_norm_base()) or original in _SCRIPTED_BATCH_NORMS:
        return "batch"
    if isinstance(module, private.instance_norm_base()):
        return "instance"
    if isinstance(module, nn.GroupNorm):
        return "group"
    # a module with running statistics of its own, and no normalisation layer inside that they belong to
    return "hand-written" if running_statistics(module) is not None and not list(module.children()) else None


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
