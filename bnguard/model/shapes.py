"""Answers about shapes that need not be asked twice, or at all, on the meta device.

Asking PyTorch's meta kernels costs 50 to 200 us an operator, most of it Python. An elementwise operator's
answer is its input; every other pure operator is asked once per distinct shape and remembered as long as
the trace lasts. Values do not exist on the meta device, so that one tensor may stand for several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor

_UNARY = (
    F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.softplus, F.softsign,
    F.hardswish, F.hardsigmoid, F.hardtanh, F.hardshrink, F.logsigmoid, F.tanhshrink, F.prelu,
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
    torch.relu, torch.relu_, torch.sigmoid, torch.tanh, torch.nn.functional.leaky_relu_,
    torch.nn.functional.elu_, torch.nn.functional.hardtanh_, torch.exp, torch.neg, torch.square,
    Tensor.relu, Tensor.relu_, Tensor.sigmoid, Tensor.sigmoid_, Tensor.tanh, Tensor.exp, Tensor.neg, Tensor.square,
)
_BINARY = (
    torch.add, torch.sub, torch.mul, torch.div,
    Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, Tensor.__add__, Tensor.__sub__, Tensor.__mul__,
    Tensor.__truediv__, Tensor.__radd__, Tensor.__rmul__, Tensor.add_, Tensor.mul_, Tensor.div_, Tensor.sub_,
    Tensor.__iadd__, Tensor.__imul__, Tensor.__isub__,
)
_PURE = (
    torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d,
    torch.conv_transpose3d, F.linear, torch.matmul, torch.bmm, torch.cat, torch.stack, torch.roll, F.pad,
    F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, F.adaptive_max_pool1d,
    F.adaptive_max_pool2d, F.adaptive_max_pool3d, F.interpolate, F.multi_head_attention_forward,
    F.scaled_dot_product_attention, F.embedding, F.softmax, F.log_softmax, torch.softmax, F.normalize,
    Tensor.softmax, Tensor.mean, torch.mean, Tensor.sum, torch.sum, torch.max, Tensor.max, Tensor.matmul,
    Tensor.__matmul__, torch.einsum, torch.channel_shuffle, F.unfold, F.pixel_shuffle,
    Tensor.__getitem__, Tensor.contiguous, Tensor.repeat, Tensor.masked_fill, torch.zeros_like, torch.ones_like,
    F.local_response_norm, Tensor.__pow__, torch.pow, torch.clamp, Tensor.clamp,
)


class ShapeAnswers:
    """Answers torch functions called on meta tensors; lives as long as one trace."""

    def __init__(self) -> None:
        self._memory: dict[object, object] = {}

    def ask(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Return what ``func`` returns, in shape, strides and dtype; call it where that is not known."""
        answer = _HOW.get(func)
        return func(*args, **kwargs) if answer is None else answer(self, func, args, kwargs)

    def unary(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Elementwise in one tensor: the answer has its shape and, for floating input, its dtype."""
        x = args[0] if args else None
        if type(x) is Tensor and x.is_meta and x.is_floating_point():
            return x
        return func(*args, **kwargs)

    def binary(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Elementwise in two: the answer is the first where both agree in shape and dtype."""
        if len(args) == 2 and not kwargs:
            x, y = args
            if type(x) is Tensor and x.is_meta and x.is_floating_point():
                if type(y) is float or type(y) is int:
                    return x
                if type(y) is Tensor and y.is_meta and y.shape == x.shape and y.dtype is x.dtype:
                    return x
        return func(*args, **kwargs)

    def layer_norm(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Layer normalisation keeps its input's shape where the trailing dimensions fit."""
        x, size = (args[0], args[1]) if len(args) > 1 else (None, None)
        if type(x) is Tensor and x.is_meta and isinstance(size, (tuple, list)) and x.shape[-len(size):] == tuple(size):
            return x
        return func(*args, **kwargs)

    def remember(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Call once per distinct shapes and arguments, then repeat the answer."""
        try:
            key = (func, _key(args), _key(tuple(kwargs.items())) if kwargs else None)
            known = self._memory.get(key)
        except TypeError:  # an argument that has no hash, or a tensor with values: not a question of shape
            return func(*args, **kwargs)
        if known is not None:
            return _make(known)
        result = func(*args, **kwargs)
        recipe = _recipe(result)
        if recipe is not None:
            self._memory[key] = recipe
        return result


def _key(value: Any) -> Any:  # noqa: ANN401 - any argument of any torch function
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


def _recipe(result: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - any result of any torch function
    if type(result) is Tensor and result.is_meta:
        return ("T", result.shape, result.stride(), result.dtype)
    if type(result) is tuple:
        parts = tuple(None if r is None else _recipe(r) for r in result)
        return None if any(p is None and r is not None for p, r in zip(parts, result, strict=True)) else ("*", parts)
    return None


def _make(recipe: Any) -> Any:  # noqa: ANN401 - see _recipe
    if recipe is None:
        return None
    if recipe[0] == "T":
        return torch.empty_strided(recipe[1], recipe[2], dtype=recipe[3], device="meta")
    return tuple(map(_make, recipe[1]))


_HOW: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(_PURE, ShapeAnswers.remember),
    **dict.fromkeys(_BINARY, ShapeAnswers.binary),
    **dict.fromkeys(_UNARY, ShapeAnswers.unary),
    F.layer_norm: ShapeAnswers.layer_norm,
}
