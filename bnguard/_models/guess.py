"""Guessing a model's input from its first layers and the signature of its forward; each guess is then tried."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import isqrt
from typing import Any

import torch
from torch import nn

from bnguard._models.inputs import DetectionInputs, Inputs, SpecInputs, TensorSpec
from bnguard._models.layers import WEIGHTED

_IMAGE_SIZES = (224, 299, 64, 32, 28, 512, 256, 128, 96, 48, 16, 8)
_SEQUENCE_LENGTHS = (1024, 128, 16, 2500)
_VOLUMES = ((16, 112, 112), (32, 64, 64), (32, 32, 32), (16, 16, 16), (8, 8, 8))
_MOST_GUESSES = 60
_SMALLEST = 28
"""Positions along one side of the smallest input that is trained on as it is (MNIST)."""

_SIZE_NAMES = ("image_size", "img_size", "input_size", "input_resolution", "resolution")


def guesses(model: nn.Module) -> Iterator[Inputs]:
    """Yield inputs worth trying, the most usual first, at most ``_MOST_GUESSES``.

    The first layers with weights say how many channels or features are wanted, the forward's signature how many
    tensors. A detector of torchvision takes images and targets.
    """
    if _is_detector(model):
        yield DetectionInputs()
        return
    count = _required_arguments(model)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    tried: set[TensorSpec] = set()
    for guess in _specs(model):
        spec = replace(guess, dtype=dtype) if guess.dtype.is_floating_point else guess
        if spec in tried:
            continue
        tried.add(spec)
        if len(tried) > _MOST_GUESSES:
            return
        yield SpecInputs((spec,) * count, "assumed")
    if count > 1:
        yield from _one_for_each(model, count)


def at_smallest(inputs: Inputs) -> Inputs | None:
    """Return a guessed input at the smallest size that is still usual; None where it is as small already."""
    if not isinstance(inputs, SpecInputs):
        return None
    specs = tuple(replace(s, shape=(*s.shape[:1], *(min(n, _SMALLEST) for n in s.shape[1:]))) for s in inputs.specs)
    return None if specs == inputs.specs else SpecInputs(specs, inputs.source)


def as_wanted(model: nn.Module, inputs: Inputs) -> Inputs:
    """Turn one image's shape into the images and targets that a detector wants; leave all else as it is."""
    if _is_detector(model) and isinstance(inputs, SpecInputs) and len(inputs.specs) == 1:
        size = inputs.specs[0].shape
        if len(size) == 3:
            return DetectionInputs(size, inputs.source)
    return inputs


def _is_detector(model: nn.Module) -> bool:
    modules = {base.__module__ for base in type(model).__mro__}
    return any(m.startswith("torchvision.models.detection") for m in modules)


def _required_arguments(model: nn.Module) -> int:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return 1
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return max(1, len(needed))


def _specs(model: nn.Module) -> Iterator[TensorSpec]:
    sizes = tuple(dict.fromkeys((*_declared_sizes(model), *_IMAGE_SIZES)))
    for layer in _first_layers(model, 4):
        yield from _for_layer(layer, sizes)


def _declared_sizes(model: nn.Module) -> Iterator[int]:
    for name in _SIZE_NAMES:
        value = getattr(model, name, None)
        if isinstance(value, (tuple, list)) and value:
            value = value[-1]
        if type(value) is int and 4 <= value <= 4096:
            yield value


_KNOW_THEIR_INPUT = (
    *WEIGHTED, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.Bilinear, nn.MultiheadAttention,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.GroupNorm, nn.LayerNorm,
)  # fmt: skip

_WIDTHS = (
    "in_channels", "in_features", "num_embeddings", "input_size", "in1_features", "num_features", "num_channels",
    "normalized_shape", "embed_dim",
)  # fmt: skip


def _first_layers(model: nn.Module, count: int) -> list[nn.Module]:
    distinct: dict[object, nn.Module] = {}
    for module in model.modules():
        if isinstance(module, _KNOW_THEIR_INPUT):
            distinct.setdefault((type(module), _width(module)), module)
    return list(distinct.values())[:count]


def _width(module: nn.Module) -> object:
    return next((getattr(module, n) for n in _WIDTHS if hasattr(module, n)), None)


def _for_layer(layer: nn.Module, sizes: Iterable[int]) -> Iterator[TensorSpec]:  # noqa: C901 - one case a kind
    width = _width(layer)
    match layer:
        case nn.Embedding() | nn.EmbeddingBag():
            yield from (TensorSpec((n,), torch.int64) for n in (128, 16, 8))
        case nn.RNNBase():
            yield from (TensorSpec((n, layer.input_size)) for n in (128, 16))
        case nn.Linear() | nn.Bilinear() if isinstance(width, int):
            yield from _for_features(width or 64)  # a lazy layer has a width of 0
        case nn.Conv1d() | nn.ConvTranspose1d() | nn.InstanceNorm1d() if isinstance(width, int):
            yield from (TensorSpec((width or 3, n)) for n in _SEQUENCE_LENGTHS)
        case nn.Conv3d() | nn.ConvTranspose3d() | nn.BatchNorm3d() | nn.InstanceNorm3d() if isinstance(width, int):
            yield from (TensorSpec((width or 3, *v)) for v in _VOLUMES)
        case nn.BatchNorm1d() if isinstance(width, int):
            yield TensorSpec((width or 64,))
            yield from (TensorSpec((width or 64, n)) for n in _SEQUENCE_LENGTHS)
        case nn.LayerNorm():
            yield TensorSpec(tuple(layer.normalized_shape))
            yield TensorSpec((128, *layer.normalized_shape))
        case nn.MultiheadAttention():
            yield TensorSpec((128, layer.embed_dim))
        case _ if isinstance(width, int):  # two-dimensional: Conv2d, BatchNorm2d, InstanceNorm2d, GroupNorm
            channels = width or 3
            if isinstance(layer, nn.ConvTranspose2d):  # a generator starts from one pixel
                yield from (TensorSpec((channels, n, n)) for n in (1, 4))
            yield from (TensorSpec((channels, n, n)) for n in sizes)


def _for_features(features: int) -> Iterator[TensorSpec]:
    yield TensorSpec((features,))
    for channels in (1, 3):  # an image that the model flattens itself
        side = isqrt(features // channels)
        if channels * side * side == features and side > 3:
            yield TensorSpec((channels, side, side))
    yield from (TensorSpec((n, features)) for n in (128, 16))


def _one_for_each(model: nn.Module, count: int) -> Iterator[Inputs]:
    """Pair the usual guesses of each child: a model of several branches takes one input a branch."""
    first = [layer for child in model.children() for layer in _first_layers(child, 1)]
    specs = [found for layer in first if (found := list(_for_layer(layer, _IMAGE_SIZES)))]
    if len(specs) >= count:
        for choice in range(3):
            yield SpecInputs(tuple(s[min(choice, len(s) - 1)] for s in specs[:count]), "assumed")


# ------------------------------ what a class or a factory wants to be called with, and the ``--set`` line that gives it


_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters by name, without ``self``; none where Python cannot tell."""
    try:
        found = inspect.signature(_code_of(function)).parameters
    except (TypeError, ValueError):
        return {}
    names = list(found)[1:] if isinstance(function, type) else list(found)
    return {n: found[n] for n in names}


def required(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the arguments without defaults."""
    return tuple(n for n, p in parameters(function).items() if p.default is p.empty and p.kind not in _ANY)


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether it can be called with this keyword."""
    found = parameters(function)
    plain = [n for n, p in found.items() if p.kind not in _ANY]
    return name in plain or any(p.kind is p.VAR_KEYWORD for p in found.values())


def set_line(function: Callable[..., Any], names: Sequence[str]) -> str:
    """Return ``--set width=… --set params.hidden=…``: what to type to give these arguments."""
    read = _attributes_read(function)
    wanted = [f"{n}.{a}" for n in names for a in read.get(n, ())] if read else []
    wanted += [n for n in names if n not in read]
    return " ".join(f"--set {name}=…" for name in wanted)


def _code_of(function: Callable[..., Any]) -> Callable[..., Any]:
    # not the class itself: a metaclass may hide what its constructor takes
    return function.__init__ if isinstance(function, type) else function  # type: ignore[misc]


def _attributes_read(function: Callable[..., Any]) -> dict[str, list[str]]:
    """Return for each name what the body takes out of it: ``params.hidden`` or ``params["hidden"]``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(_code_of(function))))
    except (OSError, SyntaxError, TypeError):
        return {}
    read: dict[str, list[str]] = {}
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    taken = [n for n in ast.walk(tree) if isinstance(n, (ast.Attribute, ast.Subscript)) and id(n) not in called]
    for node in sorted(taken, key=lambda n: (n.lineno, n.col_offset)):
        match node:
            case (
                ast.Attribute(value=ast.Name(id=name), attr=part, ctx=ast.Load())
                | ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str() as part))
            ) if part not in read.setdefault(name, []):
                read[name].append(part)
    return read
