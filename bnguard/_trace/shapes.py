"""Answers about shapes that need not be asked twice, or at all, on the meta device.

Asking PyTorch's meta kernels costs 50 to 200 us an operator, most of it Python. An elementwise operator's answer is its
input; convolutions, linear layers, concatenations and global pools follow one formula each, used where nothing unusual
is asked of them; every other pure operator is asked once per distinct shape and remembered as long as the trace lasts.
Values do not exist on the meta device, so that one tensor may stand for several.
``tests/trace/test_shapes.py`` holds each answer against PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor

_UNARY = (
    F.relu,
    F.relu6,
    F.leaky_relu,
    F.elu,
    F.selu,
    F.celu,
    F.gelu,
    F.silu,
    F.mish,
    F.softplus,
    F.softsign,
    F.hardswish,
    F.hardsigmoid,
    F.hardtanh,
    F.hardshrink,
    F.logsigmoid,
    F.tanhshrink,
    F.prelu,
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
    torch.relu,
    torch.relu_,
    torch.sigmoid,
    torch.tanh,
    torch.nn.functional.leaky_relu_,
    torch.nn.functional.elu_,
    torch.nn.functional.hardtanh_,
    torch.exp,
    torch.neg,
    torch.square,
    Tensor.relu,
    Tensor.relu_,
    Tensor.sigmoid,
    Tensor.sigmoid_,
    Tensor.tanh,
    Tensor.exp,
    Tensor.neg,
    Tensor.square,
)
_BINARY = (
    torch.add,
    torch.sub,
    torch.mul,
    torch.div,
    Tensor.add,
    Tensor.sub,
    Tensor.mul,
    Tensor.div,
    Tensor.__add__,
    Tensor.__sub__,
    Tensor.__mul__,
    Tensor.__truediv__,
    Tensor.__radd__,
    Tensor.__rmul__,
)
_IN_PLACE = (
    Tensor.add_,
    Tensor.mul_,
    Tensor.div_,
    Tensor.sub_,
    Tensor.__iadd__,
    Tensor.__imul__,
    Tensor.__isub__,
)
_PURE = (
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
    torch.matmul,
    torch.bmm,
    torch.stack,
    torch.roll,
    F.pad,
    F.max_pool1d,
    F.max_pool2d,
    F.max_pool3d,
    F.avg_pool1d,
    F.avg_pool2d,
    F.avg_pool3d,
    F.adaptive_avg_pool1d,
    F.adaptive_avg_pool3d,
    F.adaptive_max_pool1d,
    F.adaptive_max_pool2d,
    F.adaptive_max_pool3d,
    F.interpolate,
    F.multi_head_attention_forward,
    F.scaled_dot_product_attention,
    F.embedding,
    F.softmax,
    F.log_softmax,
    torch.softmax,
    F.normalize,
    Tensor.softmax,
    Tensor.mean,
    torch.mean,
    Tensor.sum,
    torch.sum,
    torch.max,
    Tensor.max,
    Tensor.matmul,
    Tensor.__matmul__,
    torch.einsum,
    torch.channel_shuffle,
    F.unfold,
    F.pixel_shuffle,
    Tensor.__getitem__,
    Tensor.contiguous,
    Tensor.repeat,
    Tensor.masked_fill,
    torch.zeros_like,
    torch.ones_like,
    F.local_response_norm,
    Tensor.__pow__,
    torch.pow,
    torch.clamp,
    Tensor.clamp,
)


class ShapeAnswers:
    """Answers torch functions called on meta tensors; lives as long as one trace."""

    def __init__(self) -> None:
        self._memory: dict[object, object] = {}

    def ask(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return what ``func`` returns, in shape, strides and dtype; call it where that is not known."""
        answer = _HOW.get(func)
        return func(*args, **kwargs) if answer is None else answer(self, func, args, kwargs)

    def unary(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Elementwise in one tensor: the answer has its shape and, for floating input, its dtype."""
        x = args[0] if args else None
        if type(x) is Tensor and x.is_meta and x.is_floating_point():
            return x
        return func(*args, **kwargs)

    def binary(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Elementwise in two: the answer is the first where both agree in shape and dtype."""
        if len(args) == 2 and not kwargs:
            x, y = args
            if type(x) is Tensor and x.is_meta and x.is_floating_point():
                if type(y) is float or type(y) is int:
                    return x
                if type(y) is Tensor and y.is_meta and y.dtype is x.dtype:
                    wider = _wider(x, y)
                    if wider is not None:
                        return wider
        return func(*args, **kwargs)

    def in_place(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """In place, with a number or a tensor of the same shape: the answer is the first."""
        if len(args) == 2 and not kwargs:
            x, y = args
            if type(x) is Tensor and x.is_meta and (type(y) is int or (type(y) is Tensor and y.shape == x.shape)):
                return x
        return func(*args, **kwargs)

    def layer_norm(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Layer normalisation keeps its input's shape where the trailing dimensions fit."""
        x, size = (args[0], args[1]) if len(args) > 1 else (None, None)
        if type(x) is Tensor and x.is_meta and isinstance(size, (tuple, list)) and x.shape[-len(size) :] == tuple(size):
            return x
        return func(*args, **kwargs)

    def convolution(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """``floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1`` for each dimension of space."""
        if len(args) == 7 and not kwargs:
            x, weight, _, stride, padding, dilation, groups = args
            if _plain(x) and type(padding) is tuple and type(stride) is tuple and x.dtype is weight.dtype:
                size, kernel = x.shape, weight.shape
                if len(size) == len(kernel) and size[1] == kernel[1] * groups and len(stride) == len(size) - 2:
                    space = tuple(
                        (n + 2 * p - d * (k - 1) - 1) // s + 1
                        for n, k, s, p, d in zip(size[2:], kernel[2:], stride, padding, dilation, strict=True)
                    )
                    if min(space) > 0:
                        return torch.empty((size[0], kernel[0], *space), dtype=x.dtype, device="meta")
        return self.remember(func, args, kwargs)

    def linear(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Linear: the last dimension becomes the number of output features."""
        x, weight = args[0], args[1] if len(args) > 1 else None
        if _plain(x) and isinstance(weight, Tensor) and not kwargs:
            size = x.shape
            if len(weight.shape) == 2 and size[-1:] == weight.shape[1:] and x.dtype is weight.dtype:
                return torch.empty((*size[:-1], weight.shape[0]), dtype=x.dtype, device="meta")
        return self.remember(func, args, kwargs)

    def concatenate(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Sizes add up along one dimension where all others agree."""
        dim = args[1] if len(args) == 2 else kwargs.get("dim", 0)
        parts = args[0] if args else None
        if type(dim) is int and len(args) + len(kwargs) <= 2 and isinstance(parts, (list, tuple)) and parts:
            first = parts[0]
            alike = all(_plain(p) and p.dim() == first.dim() and p.dtype is first.dtype for p in parts)
            if alike and -first.dim() <= dim < first.dim():
                dim %= first.dim()
                sizes = [list(p.shape) for p in parts]
                total = sum(size.pop(dim) for size in sizes)
                if all(size == sizes[0] for size in sizes):
                    return torch.empty((*sizes[0][:dim], total, *sizes[0][dim:]), dtype=first.dtype, device="meta")
        return self.remember(func, args, kwargs)

    def adaptive_pool2d(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Adaptive pooling: the output size is given; None keeps a dimension (left to PyTorch)."""
        if len(args) == 2 and not kwargs:
            x, out = args
            pair = (out, out) if type(out) is int else out
            whole = type(pair) is tuple and len(pair) == 2 and all(type(n) is int and n > 0 for n in pair)
            if whole and _plain(x) and x.dim() == 4 and 0 not in x.shape:
                return torch.empty((*x.shape[:2], *pair), dtype=x.dtype, device="meta")
        return self.remember(func, args, kwargs)

    def remember(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call once per distinct shapes and arguments, then repeat the answer."""
        key, known = self._look_up(func, args, kwargs)
        if known is not None:
            return _make(known)
        result = func(*args, **kwargs)
        recipe = None if key is None else _recipe(result)
        if recipe is not None:
            self._memory[key] = recipe
        return result

    def _look_up(self, func: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[object, object]:
        try:
            key = (func, _key(args), _key(tuple(kwargs.items())) if kwargs else None)
            return key, self._memory.get(key)
        except TypeError:  # an argument that has no hash, or a tensor with values: not a question of shape
            return None, None


def _plain(x: object) -> bool:
    return type(x) is Tensor and x.is_meta and x.is_floating_point() and x.is_contiguous()


def _wider(x: Tensor, y: Tensor) -> Tensor | None:
    """Return the one of two whose shape is that of their broadcast result, or None where it is neither's."""
    a, b = x.shape, y.shape
    if a == b:
        return x if x.is_contiguous() or x.stride() == y.stride() else None
    if len(a) != len(b) or not (x.is_contiguous() and y.is_contiguous()):
        return None
    if all(n in (m, 1) for m, n in zip(a, b, strict=True)):
        return x
    return y if all(m in (n, 1) for m, n in zip(a, b, strict=True)) else None


def _key(value: Any) -> Any:
    if isinstance(value, Tensor):
        if not value.is_meta:
            raise TypeError("a tensor with values")
        return ("T", value.shape, value.stride(), value.dtype)
    if isinstance(value, (tuple, list)):
        return tuple(map(_key, value))
    if isinstance(value, slice):
        return ("S", value.start, value.stop, value.step)
    # True == 1 and 1.0 == 1 in a dict, but not in an operator
    return (type(value), value)


def _recipe(result: Any) -> tuple[Any, ...] | None:
    if type(result) is Tensor and result.is_meta:
        return ("T", result.shape, result.stride(), result.dtype)
    if type(result) is tuple:
        parts = tuple(None if r is None else _recipe(r) for r in result)
        return None if any(p is None and r is not None for p, r in zip(parts, result, strict=True)) else ("*", parts)
    return None


def _make(recipe: Any) -> Any:
    if recipe is None:
        return None
    if recipe[0] == "T":
        return torch.empty_strided(recipe[1], recipe[2], dtype=recipe[3], device="meta")
    return tuple(map(_make, recipe[1]))


_HOW: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(_PURE, ShapeAnswers.remember),
    **dict.fromkeys(_BINARY, ShapeAnswers.binary),
    **dict.fromkeys(_IN_PLACE, ShapeAnswers.in_place),
    **dict.fromkeys(_UNARY, ShapeAnswers.unary),
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), ShapeAnswers.convolution),
    F.linear: ShapeAnswers.linear,
    torch.cat: ShapeAnswers.concatenate,
    F.adaptive_avg_pool2d: ShapeAnswers.adaptive_pool2d,
    F.layer_norm: ShapeAnswers.layer_norm,
}
