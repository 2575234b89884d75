"""Finding the normalisation layers of a model, and what each is configured to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from types import CodeType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from bnguard import _private_torch as private
from bnguard._facts.models import NormCall
from bnguard._facts.norm_kinds import ATTRIBUTES, KINDS, NormFunction, NormKind, place_of

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

    Those of the classes that ``norm_kinds`` knows, and modules that keep running statistics of their own, such as a
    from-scratch BatchNorm or FrozenBatchNorm2d.
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
    kind = known.kind_of_class(type(module))
    if kind is None or not kind.measured:
        return kind
    if isinstance(module, private.script_module_type()):
        return known.kind_of_scripted(_type_name(module))
    if private.has_children(module) or running_statistics(module) is None:
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


# -------------------------------------------------------------- the table of normalisation kinds as this process has it


TENSORS = ("weight", "bias", "running_mean", "running_var")

_ONE_VALUE = ValueError.__name__
"""What the check for one value per statistic raises."""


@dataclass(frozen=True)
class Bound:
    """A function of the table, found in this process."""

    kind: NormKind
    function: NormFunction
    live: Callable[..., Any]

    def call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """Return the call that these arguments make."""
        return Call(self, self.function.bind(args, kwargs))


@dataclass(eq=False, slots=True)
class Call:
    """One call of a normalisation function, its arguments under the words of ``bnguard._facts.norm_kinds``.

    It holds tensors: it lives as long as a call is looked at, and no longer. A trace makes one for each call of a
    model's layers, so that what is asked several times is found out once.

    Attributes:
        shape: of the input, channels at index 1.
        tensors: weight, bias and running statistics by name, those that are given.
        batch_statistics: whether the call uses the statistics of its own input.

    """

    bound: Bound
    arguments: Mapping[str, Any]
    shape: tuple[int, ...] = field(init=False)
    tensors: Mapping[str, Tensor] = field(init=False)
    batch_statistics: bool = field(init=False)

    def __post_init__(self) -> None:
        given = self.arguments
        shape = tuple(self.input.shape)
        last = len(shape) > 2 and given.get("channels_last")
        self.shape = (shape[0], shape[-1], *shape[1:-1]) if last else shape
        self.tensors = {name: t for name in TENSORS if isinstance(t := given.get(name), Tensor)}
        self.batch_statistics = bool(given.get("batch_statistics", self.bound.function.batch_statistics))

    @property
    def kind(self) -> NormKind:
        """The kind of the function."""
        return self.bound.kind

    @property
    def input(self) -> Tensor:
        """The tensor that is to be normalised."""
        given: Tensor = self.arguments["input"]
        return given

    @property
    def values(self) -> int:
        """Over how many values each mean and variance is taken."""
        return self.kind.values(self.shape, self.arguments)

    @property
    def raises(self) -> bool:
        """Whether the function refuses the call because a statistic would be taken over one value."""
        refuses = self.batch_statistics and self.bound.function.refusal is not None
        return refuses and self.kind.checks_one(self.shape, self.arguments)

    @property
    def features(self) -> int | None:
        """How many values weight, bias and running statistics hold; None for a shape that is refused."""
        return self.kind.features(self.shape, self.arguments)

    @property
    def eps(self) -> float:
        """What is added to the variance."""
        return float(self.arguments.get("eps", 1e-5))

    @property
    def momentum(self) -> float | None:
        """As given, or torch's default; None where nothing is counted."""
        given: float | None = self.arguments.get("momentum", 0.1 if self.kind.running_statistics else None)
        return given

    @property
    def params(self) -> Tensor | None:
        """Weight or bias, or else a running statistic: the tensor whose dtype must fit the input's."""
        return next(iter(self.tensors.values()), None)

    def owners(self) -> Iterator[Tensor]:
        """Yield the tensors by which a layer is recognised."""
        yield from (self.tensors[name] for name in ("running_mean", "weight") if name in self.tensors)

    def changed(self, **changes: Any) -> Call:  # noqa: ANN401 - any argument
        """Return the call with some arguments replaced."""
        return replace(self, arguments={**self.arguments, **changes})

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Call:
        """Return the call with every tensor replaced."""
        changed = {n: change(v) if isinstance(v, Tensor) else v for n, v in self.arguments.items()}
        return replace(self, arguments=changed)

    def run(self) -> Tensor:
        """Make the call."""
        result: Tensor = self.bound.live(**self.bound.function.unbind(self.arguments))
        return result

    def fits(self) -> bool:
        """Whether no size stands against the call; otherwise PyTorch knows what it thinks of it."""
        features = self.features
        return (
            features is not None
            and (self.batch_statistics or ("running_mean" in self.tensors and "running_var" in self.tensors))
            and all(t.numel() == features for t in self.tensors.values())
        )

    def raise_as_torch(self) -> None:
        """Let the CPU's kernel word what is wrong with a call that does not fit; come back if it finds nothing."""

        def empty(tensor: Tensor) -> Tensor:
            return torch.zeros((), dtype=tensor.dtype, device="cpu").expand(tensor.shape)  # a value, of any shape

        with private.no_modes():
            self.mapped(empty).run()

    def fact(self, error: str | None = None, **special: Any) -> NormCall:  # noqa: ANN401 - further parts of the fact
        """Return what is true of the call: whichever function it is of, and what is special to this one.

        ``error`` is the name of the exception's type where the call is rejected for another reason than one value.
        """
        params, raises = self.params, self.raises
        return NormCall(
            self.shape,
            self.values,
            self.batch_statistics,
            raises,
            dtype_name(self.input.dtype),
            None if params is None else dtype_name(params.dtype),
            error=_ONE_VALUE if raises else error,
            **special,
        )


class Norms:
    """What of the table is there.

    Attributes:
        functions: by the function itself, as a ``TorchFunctionMode`` is given it.
        foreign: functions that are not torch's, which no mode is told of.
        classes: by the class, of torch's the private one under it.

    """

    def __init__(self) -> None:
        bound = [
            Bound(kind, _as_it_is(function, live), live)
            for kind in KINDS
            for function in kind.functions
            if callable(live := _found(function.name))
        ]
        self.functions: Mapping[Any, Bound] = {b.live: b for b in bound}
        self.foreign = tuple(b for b in bound if not b.function.name.startswith("torch"))
        self.by_code: Mapping[CodeType, Bound] = {b.live.__code__: b for b in bound if hasattr(b.live, "__code__")}
        classes = [(name, kind) for kind in KINDS for name in kind.classes]
        self.classes: Mapping[Any, NormKind] = {
            private.base_of(cls): kind for name, kind in classes if isinstance(cls := _found(name), type)
        }
        self._scripted = {place_of(name)[1]: kind for name, kind in classes if name.startswith("torch")}
        self._measured = next((kind for kind in KINDS if kind.measured), None)
        self._synchronised = _all_found(name for kind in KINDS for name in kind.synchronised)
        self._refusing_alone = _all_found(name for kind in KINDS for name in kind.refusing_alone)
        self._known: dict[Any, NormKind | None] = {}

    def kind_of_class(self, cls: Any) -> NormKind | None:  # noqa: ANN401 - mypy does not see that a class can be hashed
        """Return the kind of a class; a measured one then depends on what the instance keeps."""
        if cls not in self._known:
            kind = next((kind for base, kind in self.classes.items() if issubclass(cls, base)), None)
            if kind is None and not cls.__module__.startswith("torch.nn."):
                kind = self._measured
            self._known[cls] = kind
        return self._known[cls]

    def kind_of_scripted(self, name: str) -> NormKind | None:
        """Return the kind of a TorchScript module, by the name of the class that it was made of."""
        return self._scripted.get(name)

    def is_synchronised(self, module: nn.Module) -> bool:
        """Whether the layer takes its statistics over all ranks, which must then all take part."""
        return isinstance(module, self._synchronised)

    def counts_all_ranks(self, module: nn.Module) -> bool:
        """Whether the layer takes one value of its own rank where others have more."""
        return self.is_synchronised(module) and not isinstance(module, self._refusing_alone)

    def first(self, kind: NormKind) -> Bound:
        """Return the function that a layer of this kind is taken to call: one's own normaliser does as BatchNorm."""
        own = (bound for bound in self.functions.values() if bound.kind is kind)
        return next(own, self.functions[F.batch_norm])


def norms() -> Norms:
    """Return what of the table is there now: packages may have been imported since it was last asked for."""
    return _norms(KINDS.revision, *map(sys.modules.get, _modules(KINDS.revision)))


@lru_cache(maxsize=4)
def _norms(*_: object) -> Norms:
    return Norms()


@lru_cache(maxsize=4)
def _modules(_: int) -> tuple[str, ...]:
    return tuple(sorted({place_of(name)[0] for kind in KINDS for name in kind.names}))


def _found(name: str) -> Any:  # noqa: ANN401 - a class or a function
    """Return what has this name in a module that is imported already, or None."""
    module, attribute = place_of(name)
    try:
        return attrgetter(attribute)(sys.modules[module])
    except (KeyError, AttributeError):
        return None


def _all_found(names: Iterable[str]) -> tuple[type, ...]:
    return tuple(cls for name in names if isinstance(cls := _found(name), type))


def _as_it_is(function: NormFunction, live: Any) -> NormFunction:  # noqa: ANN401 - a function of Python or C++
    code = getattr(live, "__code__", None)
    return function if code is None else function.with_parameters(code.co_varnames[: code.co_argcount])


def is_torch_batch_norm(call: Call) -> bool:
    """Whether PyTorch chooses a backend for this call, and looks at its dtypes and its eps."""
    return call.bound.live in (F.batch_norm, torch.batch_norm)


def keeps(module: nn.Module, word: str) -> Tensor | None:
    """Return what a layer keeps of its own as ``weight``, ``running_mean`` and so on, whatever it calls it."""
    return next((t for name in ATTRIBUTES[word] if (t := private.own_tensor(module, name)) is not None), None)


def dtype_name(dtype: torch.dtype) -> str:
    """Return torch's name of a dtype without the prefix."""
    return str(dtype).removeprefix("torch.")
