"""What to give to a model's forward: described by the user, declared by the model, or guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bnguard._errors import InputError
from bnguard._facts.models import InputFact
from bnguard._models.layers import dtype_name

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Inputs(Protocol):
    """A recipe that makes the arguments of one forward."""

    @property
    def source(self) -> str:
        """Who said so: see ``InputFact.source``."""

    @property
    def needs_values(self) -> bool:
        """Whether the forward decides by values, so that shapes alone cannot lead through it."""

    def make(self, batch_size: int, device: str) -> Arguments:
        """Return positional and keyword arguments with tensors on ``meta`` or ``cpu``."""

    def facts(self, batch_size: int) -> tuple[InputFact, ...]:
        """Describe the tensors that ``make`` gives."""


@dataclass(frozen=True)
class TensorSpec:
    """One input tensor: ``shape`` without the batch dimension; ``name`` when it is passed by keyword."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    name: str | None = None

    def tensor(self, batch_size: int, device: str) -> Tensor:
        """Return a tensor of this shape: random when floating, zeros otherwise (a valid index anywhere)."""
        size = (batch_size, *self.shape)
        if device == "meta" or not self.dtype.is_floating_point:
            return torch.zeros(size, dtype=self.dtype, device=device)
        return torch.randn(size, device=device).to(self.dtype)


@dataclass(frozen=True)
class SpecInputs:
    """Inputs made from tensor descriptions."""

    specs: tuple[TensorSpec, ...]
    source: str
    needs_values: bool = False

    def make(self, batch_size: int, device: str) -> Arguments:
        """Return one tensor for each description."""
        args = tuple(s.tensor(batch_size, device) for s in self.specs if s.name is None)
        return args, {s.name: s.tensor(batch_size, device) for s in self.specs if s.name is not None}

    def enlarged(self, factor: int) -> SpecInputs | None:
        """Return the same inputs with every dimension of space multiplied, or None where there is no space."""

        def larger(s: TensorSpec) -> TensorSpec:
            return replace(s, shape=(s.shape[0], *(n * factor for n in s.shape[1:]))) if len(s.shape) > 2 else s

        specs = tuple(map(larger, self.specs))
        return replace(self, specs=specs) if specs != self.specs else None

    def facts(self, batch_size: int) -> tuple[InputFact, ...]:
        """Describe each tensor."""
        return tuple(InputFact(s.name, (batch_size, *s.shape), dtype_name(s.dtype), self.source) for s in self.specs)


@dataclass(frozen=True)
class ExampleInputs:
    """Inputs that the user's code provides, for any batch size or for one that is then replaced."""

    provide: Callable[[int], Any]
    source: str
    needs_values: bool = False
    _seen: dict[int, Arguments] = field(default_factory=dict, repr=False)

    def make(self, batch_size: int, device: str) -> Arguments:
        """Return what the user's code gives, moved to the device."""
        if batch_size not in self._seen:
            self._seen[batch_size] = _as_arguments(self.provide(batch_size))
        args, kwargs = self._seen[batch_size]

        def place(t: Tensor) -> Tensor:
            return t.detach().to(device) if device == "meta" else t.detach().cpu()

        moved: Arguments = map_tensors(args, place), map_tensors(kwargs, place)
        return moved

    def facts(self, batch_size: int) -> tuple[InputFact, ...]:
        """Describe every tensor within the arguments."""
        return describe(self.make(batch_size, "cpu"), self.source)


@dataclass(frozen=True)
class DetectionInputs:
    """A list of images with boxes, labels, masks and keypoints, as torchvision's detectors take in training."""

    size: tuple[int, ...] = (3, 224, 224)
    source: str = "assumed"
    needs_values: bool = True

    def make(self, batch_size: int, device: str) -> Arguments:
        """Return ``(images, targets)``; each target holds one box of a quarter of the image."""
        _, height, width = self.size
        target = {
            "boxes": torch.tensor([[0.0, 0.0, width / 2, height / 2]]),
            "labels": torch.ones(1, dtype=torch.int64),
            "masks": torch.ones((1, height, width), dtype=torch.uint8),
            "keypoints": torch.tensor([[[width / 4, height / 4, 1.0]] * 17]),
        }
        images = [torch.rand(self.size).to(device) for _ in range(batch_size)]
        targets = [{k: v.clone().to(device) for k, v in target.items()} for _ in range(batch_size)]
        return (images, targets), {}

    def facts(self, batch_size: int) -> tuple[InputFact, ...]:
        """Describe the images; the targets are values, not shapes."""
        return (InputFact("images", (batch_size, *self.size), "float32", self.source),)


# ------------------------------------------------------------------------------------- what the user describes

_SPEC = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>[^:=]*)(?::(?P<dtype>\w+))?")
_DTYPES = {"float": "float32", "half": "float16", "double": "float64", "int": "int32", "long": "int64"}


def parse_input(text: str) -> TensorSpec:
    """Read ``3,224,224``, ``name=3,224,224`` or ``128:int64`` (no batch dimension).

    Raises:
        InputError: the text is none of these.

    """
    hint = "write it like 3,224,224 or mask=224,224 or tokens=128:int64, without the batch dimension"
    match = _SPEC.fullmatch(text.strip().replace(" ", ""))
    if match is None:
        raise InputError(f"--input {text!r} cannot be read", hint=hint)
    sizes = [part for part in match["shape"].split(",") if part]
    if not all(part.isdecimal() for part in sizes):
        raise InputError(f"--input {text!r}: the shape must be positive whole numbers, separated by commas", hint=hint)
    shape = tuple(map(int, sizes))
    if any(size == 0 for size in shape):
        raise InputError(f"--input {text!r}: a dimension of 0 holds no values", hint=hint)
    if not shape and match["name"] is None and match["dtype"] is None:
        raise InputError("--input is empty", hint=hint)
    word = match["dtype"] or "float32"
    dtype = getattr(torch, _DTYPES.get(word, word), None)
    if not isinstance(dtype, torch.dtype):
        raise InputError(f"--input {text!r}: torch has no dtype {word!r}", hint="for example float32, float16, int64")
    return TensorSpec(shape, dtype, match["name"])


def as_recipe(inputs: Any) -> Inputs | None:  # noqa: ANN401 - the library accepts several spellings
    """Return the ``inputs`` argument of the library as a recipe; a recipe is one already, None stays None.

    Args:
        inputs: ``(3, 224, 224)`` for one tensor without its batch dimension, a list of such tuples, the command
            line's text or a list of it, a tensor or a tuple of tensors with their batch dimension, or a
            dict of any of these for keyword arguments.

    Raises:
        InputError: it is none of these.

    """
    if inputs is None or (hasattr(inputs, "make") and hasattr(inputs, "facts")):
        recipe: Inputs | None = inputs
        return recipe
    if callable(inputs):
        return ExampleInputs(inputs, "given")
    if _has_tensor(inputs):
        return ExampleInputs(lambda batch_size: resize_batch(inputs, batch_size), "given")
    if isinstance(inputs, dict):
        return SpecInputs(tuple(_named(v, k) for k, v in inputs.items()), "given")
    if isinstance(inputs, str) or _is_shape(inputs):
        return SpecInputs((_named(inputs, None),), "given")
    if isinstance(inputs, Sequence) and inputs:
        return SpecInputs(tuple(_named(v, None) for v in inputs), "given")
    raise InputError(f"inputs cannot be of type {type(inputs).__name__}", hint="give a shape such as (3, 224, 224)")


def _is_shape(value: object) -> bool:
    return isinstance(value, (tuple, list)) and bool(value) and all(type(v) is int for v in value)


def _named(value: object, name: str | None) -> TensorSpec:
    if isinstance(value, str):
        spec = parse_input(value)
        return spec if name is None else TensorSpec(spec.shape, spec.dtype, name)
    if isinstance(value, TensorSpec):
        return value
    if isinstance(value, (tuple, list)) and all(type(v) is int and v > 0 for v in value):
        return TensorSpec(tuple(value), name=name)
    raise InputError(f"{value!r} is not an input shape", hint="give a shape such as (3, 224, 224), no batch dimension")


# -------------------------------------------------------------------------------- what the model declares itself


def declared_inputs(model: nn.Module, namespace: Mapping[str, Any]) -> Iterator[Inputs]:
    """Yield what the user's file or the model says about its inputs, the most explicit first."""
    provide = namespace.get("bnguard_inputs")
    if callable(provide):
        yield ExampleInputs(provide, "bnguard_inputs")
    example = getattr(model, "example_input_array", None)
    if _has_tensor(example):
        yield ExampleInputs(lambda batch_size: resize_batch(example, batch_size), "example_input_array")
    for attribute in ("pretrained_cfg", "default_cfg"):
        config = getattr(model, attribute, None)
        size = config.get("input_size") if isinstance(config, dict) else getattr(config, "input_size", None)
        if _is_shape(size):
            yield SpecInputs((TensorSpec(tuple(size)),), "pretrained_cfg")  # type: ignore[arg-type]


def _as_arguments(value: Any) -> Arguments:  # noqa: ANN401 - whatever the user's function returned
    """Read ``args``, ``(args, kwargs)``, one tensor or a dict of keyword arguments."""
    if isinstance(value, dict):
        return (), value
    match value:
        case (tuple() | list() as args, dict() as kwargs):
            return tuple(args), kwargs
        case tuple() | list():
            return tuple(value), {}
    return (value,), {}


def resize_batch(value: Any, batch_size: int) -> Any:  # noqa: ANN401 - any nesting of tensors
    """Repeat or cut dimension 0 of every tensor to the batch size."""

    def resized(t: Tensor) -> Tensor:
        if t.dim() == 0 or t.shape[0] == batch_size:
            return t
        return torch.cat([t] * -(-batch_size // max(t.shape[0], 1)))[:batch_size]

    return map_tensors(value, resized)


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 - any nesting of tensors
    """Apply ``change`` to every tensor within tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(v, change) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(v, change) for v in value)
    if isinstance(value, dict):
        return {k: map_tensors(v, change) for k, v in value.items()}
    return value


def describe(arguments: Arguments, source: str) -> tuple[InputFact, ...]:
    """Return a fact for every tensor within the arguments."""
    args, kwargs = arguments
    return (*_describe(args, None, source), *_describe(kwargs, None, source))


def _has_tensor(value: object) -> bool:
    if isinstance(value, Tensor):
        return True
    if isinstance(value, dict):
        return any(map(_has_tensor, value.values()))
    return isinstance(value, (tuple, list)) and any(map(_has_tensor, value))


def _describe(value: Any, name: str | None, source: str) -> Iterator[InputFact]:  # noqa: ANN401 - any nesting
    if isinstance(value, Tensor):
        yield InputFact(name, tuple(value.shape), dtype_name(value.dtype), source)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _describe(item, str(key), source)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _describe(item, name, source)
