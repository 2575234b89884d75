"""What the program knows of normalisation, in one table: a kind of layer is one entry of it. No torch here.

An entry says by which classes and functions a kind is known, over what its statistics are taken, when PyTorch refuses,
and what helps. ``bnguard._models.layers`` finds the classes and functions in the running process; what is not there is
passed over, so that an entry may name another package, which need not be installed.

LayerNorm, RMSNorm and LocalResponseNorm are not in the table on purpose: their statistics stay within one sample, and
no batch size makes them raise. Listing them would be noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

Shape = tuple[int, ...]
Count = Callable[[Shape, Mapping[str, Any]], int]
"""Counts from the input's shape, channels at index 1, and the call's arguments under the table's words."""

_WORDS = {
    "x": "input",
    "training": "batch_statistics",
    "use_input_stats": "batch_statistics",
    "track_running_stats": "batch_statistics",
    "running_variance": "running_var",
    "channel_last": "channels_last",
}
"""The table's word for what functions call otherwise; a parameter that is not here has its own name."""

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "running_mean": ("running_mean", "moving_mean", "running_avg", "moving_average", "moving_avg", "running_mu"),
    "running_var": ("running_var", "moving_var", "moving_variance", "running_std", "moving_std", "running_variance"),
    "weight": ("weight", "gamma"),
    "bias": ("bias", "beta"),
    "eps": ("eps", "epsilon"),
    "momentum": ("momentum",),
    "num_features": ("num_features", "num_channels"),
}
"""The names under which a layer keeps what the table has one word for."""


def place_of(name: str) -> tuple[str, str]:
    """Return the module of a class or function of the table, and its name therein."""
    module, _, attribute = name.partition(":")
    return module, attribute


@dataclass(frozen=True)
class NormFunction:
    """A function that normalises, and how it is called.

    Attributes:
        name: where it is found, such as ``torch.nn.functional:batch_norm``.
        parameters: their names in order, with blanks between them; that of the function itself, if it is one of
            Python, goes before. Those that mean something here are ``input``, ``running_mean``, ``running_var``,
            ``weight``, ``bias``, ``batch_statistics``, ``momentum``, ``eps``, ``channels_last``, and the options of the
            kind.
        refusal: a pattern for the words with which it refuses one value per statistic; None if it takes that.
        batch_statistics: whether it uses the statistics of its own input where the call does not say.

    """

    name: str
    parameters: str
    refusal: str | None = None
    batch_statistics: bool = True

    def with_parameters(self, names: Sequence[str]) -> NormFunction:
        """Return it with the parameters that it has in this release, if they can be read."""
        found = replace(self, parameters=" ".join(names))
        return found if "input" in found.names else self

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The function's own name of each parameter, by the table's word for it, in order."""
        return {_WORDS.get(name, name): name for name in self.parameters.split()}

    @cached_property
    def _words(self) -> tuple[str, ...]:
        return tuple(self.names)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a call gives, by the table's words."""
        bound = dict(zip(self._words, args, strict=False))
        for name, value in kwargs.items():
            bound[_WORDS.get(name, name)] = value
        return bound

    def unbind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments under the function's own names."""
        return {self.names.get(word, word): value for word, value in arguments.items()}


@dataclass(frozen=True)
class NormKind:
    """One kind of normalisation layer.

    Attributes:
        name: as the JSON says it.
        title: what people call such a layer where its class is not known.
        per: over what one mean and variance are taken, in the words that follow "one value per".
        features: how many values weight, bias and running statistics hold; None for a shape that is refused.
        values: over how many values a mean and variance are taken.
        checked: the count that the check for one value looks at, where that is not ``values``.
        classes: where they are found, such as ``torch.nn.modules.batchnorm:BatchNorm2d``; subclasses belong to them,
            and with a class of torch those of the private class under it.
        functions: the first one is what a layer is taken to call.
        synchronised: classes whose statistics are those of all ranks, where there are several. All must take part.
        refusing_alone: those of them that refuse one value of their own rank all the same.
        options: what a call says besides tensors and counts depend on, such as ``num_groups``.
        measured: whether classes that nobody knows are of this kind if they keep running statistics. What they do is
            then found out by running them.
        crosses_samples: whether a statistic is taken over several samples. Then one sample alone is worth a warning,
            and so are few values.
        grows_with_batch: whether the checked count grows with the batch. Otherwise it is refused at any batch size.
        running_statistics: whether running statistics can stand in for those of the input.
        remedies: what can help a layer that raises: ``merge-tail``, ``batch-size``, ``larger-input``,
            ``allow-single-sample``, ``fewer-groups``.

    """

    name: str
    title: str
    per: str
    features: Callable[[Shape, Mapping[str, Any]], int | None]
    values: Count
    checked: Count | None = None
    classes: tuple[str, ...] = ()
    functions: tuple[NormFunction, ...] = ()
    synchronised: tuple[str, ...] = ()
    refusing_alone: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    measured: bool = False
    crosses_samples: bool = False
    grows_with_batch: bool = False
    running_statistics: bool = False
    remedies: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """All names of classes and functions in the entry."""
        return (*self.classes, *self.synchronised, *self.refusing_alone, *(f.name for f in self.functions))

    def checks_one(self, shape: Shape, arguments: Mapping[str, Any]) -> bool:
        """Whether the check for one value, where a function has it, counts one."""
        return (self.checked or self.values)(shape, arguments) == 1


class NormKinds:
    """All kinds by name, in order; refuses an entry that contradicts itself or another."""

    def __init__(self, kinds: Iterable[NormKind]) -> None:
        self._kinds: dict[str, NormKind] = {}
        self.revision = 0
        for kind in kinds:
            self.add(kind)

    def __iter__(self) -> Iterator[NormKind]:
        return iter(self._kinds.values())

    def __getitem__(self, name: str) -> NormKind:
        return self._kinds[name]

    def add(self, kind: NormKind) -> None:
        """Take an entry, or raise ValueError saying what is wrong with it."""
        for wrong in self._faults(kind):
            raise ValueError(f"normalisation kind {kind.name!r}: {wrong}")
        self._kinds[kind.name] = kind
        self.revision += 1

    def remove(self, name: str) -> None:
        """Give an entry up."""
        del self._kinds[name]
        self.revision += 1

    def _faults(self, kind: NormKind) -> Iterator[str]:
        if kind.name in self._kinds:
            yield "is there already"
        if not (kind.classes or kind.functions or kind.measured):
            yield "has neither a class nor a function, so that nothing would be of this kind"
        if kind.measured and any(k.measured for k in self):
            yield "is measured, as another kind is"
        for name in kind.names:
            if not all(place_of(name)):
                yield f"{name!r} is no name such as package.module:name"
        known = [*kind.classes, *(f.name for f in kind.functions)]
        taken = {n for k in self for n in (*k.classes, *(f.name for f in k.functions))}
        for name in known:
            if name in taken or known.count(name) > 1:
                yield f"{name} is there twice"
        for function in kind.functions:
            yield from self._faults_of(function, kind)

    @staticmethod
    def _faults_of(function: NormFunction, kind: NormKind) -> Iterator[str]:
        for word in ("input", *kind.options):
            if word not in function.names:
                yield f"{function.name} has no parameter {word!r}"
        if len(function.names) != len(function.parameters.split()):
            yield f"{function.name} has two parameters of one meaning"


def _channels(shape: Shape, _: Mapping[str, Any]) -> int | None:
    return shape[1] if len(shape) > 1 else None


def _grouped_channels(shape: Shape, arguments: Mapping[str, Any]) -> int | None:
    return shape[1] if len(shape) > 1 and shape[1] % arguments["num_groups"] == 0 else None


def _batch_and_space(shape: Shape, _: Mapping[str, Any]) -> int:
    return shape[0] * prod(shape[2:])


def _space(shape: Shape, _: Mapping[str, Any]) -> int:
    return prod(shape[2:])


def _group(shape: Shape, arguments: Mapping[str, Any]) -> int:
    return int(shape[1] // arguments["num_groups"] * prod(shape[2:]))


def _groups_of_the_batch(shape: Shape, arguments: Mapping[str, Any]) -> int:
    # F.group_norm multiplies by N first, so that one channel a group on one pixel is refused for one sample alone
    return int(shape[0] * shape[1] // arguments["num_groups"] * prod(shape[2:]))


_ONE_VALUE = r"expected more than 1 value per channel"
_INPLACE_ABN = "x weight bias running_mean running_var training momentum eps activation activation_param"
_ONE_SAMPLE = r"the input tensor only contains a single sample per channel"

BATCH = NormKind(
    name="batch",
    title="BatchNorm",
    per="channel",
    features=_channels,
    values=_batch_and_space,
    classes=(
        "torch.nn.modules.batchnorm:BatchNorm1d",
        "torch.nn.modules.batchnorm:BatchNorm2d",
        "torch.nn.modules.batchnorm:BatchNorm3d",
        "torch.nn.modules.batchnorm:SyncBatchNorm",
        "inplace_abn.abn:ABN",
    ),
    functions=(
        NormFunction(
            "torch.nn.functional:batch_norm",
            "input running_mean running_var weight bias training momentum eps",
            refusal=_ONE_VALUE,
            batch_statistics=False,
        ),
        NormFunction(
            "torch:batch_norm", "input weight bias running_mean running_var training momentum eps cudnn_enabled"
        ),
        NormFunction("inplace_abn.functions:inplace_abn", _INPLACE_ABN, refusal=_ONE_SAMPLE),
        NormFunction("inplace_abn.functions:inplace_abn_sync", f"{_INPLACE_ABN} group", refusal=_ONE_SAMPLE),
        NormFunction(
            "apex.parallel.optimized_sync_batchnorm_kernel:SyncBatchnormFunction.forward",
            "ctx input z weight bias running_mean running_variance eps track_running_stats momentum process_group "
            "channel_last fuse_relu",
            refusal=_ONE_VALUE,
        ),
    ),
    synchronised=(
        "torch.nn.modules.batchnorm:SyncBatchNorm",
        "inplace_abn.abn:InPlaceABNSync",
        "apex.parallel.optimized_sync_batchnorm:SyncBatchNorm",
        "apex.parallel.sync_batchnorm:SyncBatchNorm",
    ),
    refusing_alone=("inplace_abn.abn:InPlaceABNSync",),
    crosses_samples=True,
    grows_with_batch=True,
    running_statistics=True,
    remedies=frozenset({"merge-tail", "batch-size", "larger-input", "allow-single-sample"}),
)

GROUP = NormKind(
    name="group",
    title="GroupNorm",
    per="group",
    features=_grouped_channels,
    values=_group,
    checked=_groups_of_the_batch,
    classes=("torch.nn.modules.normalization:GroupNorm",),
    functions=(
        NormFunction("torch.nn.functional:group_norm", "input num_groups weight bias eps", refusal=_ONE_VALUE),
        NormFunction("torch:group_norm", "input num_groups weight bias eps cudnn_enabled"),
    ),
    options=("num_groups",),
    grows_with_batch=True,
    # a larger batch stops the error, and every output is then the bias without a word
    remedies=frozenset({"fewer-groups", "larger-input"}),
)

INSTANCE = NormKind(
    name="instance",
    title="InstanceNorm",
    per="sample and channel",
    features=_channels,
    values=_space,
    classes=(
        "torch.nn.modules.instancenorm:InstanceNorm1d",
        "torch.nn.modules.instancenorm:InstanceNorm2d",
        "torch.nn.modules.instancenorm:InstanceNorm3d",
    ),
    functions=(
        NormFunction(
            "torch.nn.functional:instance_norm",
            "input running_mean running_var weight bias use_input_stats momentum eps",
            refusal=r"expected more than 1 spatial element when training",
        ),
        NormFunction(
            "torch:instance_norm",
            "input weight bias running_mean running_var use_input_stats momentum eps cudnn_enabled",
        ),
    ),
    running_statistics=True,
    remedies=frozenset({"larger-input"}),
)

HAND_WRITTEN = NormKind(
    name="hand-written",
    title="a normaliser of one's own",
    per="channel",
    features=_channels,
    values=_batch_and_space,
    measured=True,
    crosses_samples=True,
    grows_with_batch=True,
    running_statistics=True,
    remedies=frozenset({"merge-tail", "batch-size", "larger-input"}),
)

KINDS = NormKinds([BATCH, GROUP, INSTANCE, HAND_WRITTEN])
"""The table."""
