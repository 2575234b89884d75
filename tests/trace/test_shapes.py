"""Each shape that is answered without asking is the one that PyTorch gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnguard._trace.shapes import ShapeAnswers

small = st.integers(1, 6)


def meta(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(size, dtype=dtype, device="meta")


def outcome(call) -> object:
    try:
        result = call()
    except Exception as error:
        return type(error)
    return (tuple(result.shape), result.stride(), result.dtype)


def assert_same(func, *args, **kwargs) -> None:
    asked = outcome(lambda: ShapeAnswers().ask(func, args, kwargs))
    assert asked == outcome(lambda: func(*args, **kwargs)), (func, args, kwargs)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_convolutions(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 3))
    groups, per = data.draw(st.sampled_from([1, 2, 3])), data.draw(small)
    x = meta(data.draw(small), groups * per, *(data.draw(st.integers(1, 12)) for _ in range(dims)))
    weight = meta(
        groups * data.draw(small),
        data.draw(st.sampled_from([per, per, per, per + 1])),
        *(data.draw(small) for _ in range(dims)),
    )
    each = lambda low: tuple(data.draw(st.integers(low, 3)) for _ in range(dims))  # noqa: E731
    assert_same(
        (torch.conv1d, torch.conv2d, torch.conv3d)[dims - 1], x, weight, None, each(1), each(0), each(1), groups
    )


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_channels_last_keeps_its_strides(data: st.DataObject) -> None:
    x = meta(2, 4, 6, 6).to(memory_format=torch.channels_last)
    assert_same(torch.conv2d, x, meta(data.draw(small), 4, 3, 3), None, (1, 1), (1, 1), (1, 1), 1)
    assert_same(torch.cat, [x, x], 1)
    assert_same(torch.add, x, meta(2, 4, 6, 6))
    assert_same(torch.mul, x, meta(2, 4, 1, 1))
    assert_same(F.adaptive_avg_pool2d, x, 1)


@given(batch=st.lists(small, max_size=3), inputs=small, other=small, outputs=small)
def test_linear(batch: list[int], inputs: int, other: int, outputs: int) -> None:
    assert_same(F.linear, meta(*batch, inputs), meta(outputs, inputs), meta(outputs))
    assert_same(F.linear, meta(*batch, inputs), meta(outputs, other))


@given(
    first=st.lists(small, min_size=1, max_size=4),
    second=st.lists(small, min_size=1, max_size=4),
    dim=st.integers(-5, 5),
)
def test_concatenation(first: list[int], second: list[int], dim: int) -> None:
    assert_same(torch.cat, [meta(*first), meta(*first)], dim)
    assert_same(torch.cat, [meta(*first), meta(*second)], dim)
    assert_same(torch.cat, (meta(*first), meta(*second)), dim=dim)


@given(shape=st.lists(st.sampled_from([1, 2, 3]), max_size=4), other=st.lists(st.sampled_from([1, 2, 3]), max_size=4))
@pytest.mark.parametrize("func", [torch.add, torch.mul, Tensor.__add__, Tensor.__truediv__, torch.sub])
def test_binary_operators_broadcast(func, shape: list[int], other: list[int]) -> None:
    assert_same(func, meta(*shape), meta(*other))
    assert_same(func, meta(*shape), 2)
    assert_same(func, meta(*shape), 0.5)
    assert_same(func, meta(*shape), meta(*other, dtype=torch.float64))
    assert_same(func, meta(*shape, dtype=torch.float16), meta(*shape))


@pytest.mark.parametrize("func", [Tensor.add_, Tensor.__iadd__, Tensor.mul_])
@given(shape=st.lists(st.sampled_from([1, 2, 3]), max_size=3), other=st.lists(st.sampled_from([1, 2, 3]), max_size=3))
def test_in_place_operators(func, shape: list[int], other: list[int]) -> None:
    assert_same(func, meta(*shape), meta(*other))
    assert_same(func, meta(*shape, dtype=torch.int64), 1)


@pytest.mark.parametrize(
    "func",
    [
        F.relu,
        F.relu6,
        F.gelu,
        F.silu,
        F.hardswish,
        F.hardsigmoid,
        F.leaky_relu,
        F.elu,
        F.softplus,
        torch.sigmoid,
        torch.tanh,
        torch.exp,
        Tensor.square,
        F.mish,
        F.softsign,
        F.tanhshrink,
        F.logsigmoid,
        F.dropout,
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_unary_operators(func, dtype: torch.dtype) -> None:
    assert_same(func, meta(2, 3, 4, dtype=dtype))
    assert_same(func, meta(2, 3, 4, dtype=dtype).transpose(1, 2))


@given(size=st.lists(small, min_size=1, max_size=4), tail=st.integers(1, 2), wrong=small)
def test_layer_norm(size: list[int], tail: int, wrong: int) -> None:
    assert_same(F.layer_norm, meta(*size), tuple(size[-tail:]))
    assert_same(F.layer_norm, meta(*size), (wrong,))


@given(
    size=st.lists(st.integers(0, 5), min_size=2, max_size=5), out=st.sampled_from([1, 2, (1, 1), (2, 3), (None, 2), 0])
)
def test_adaptive_pooling(size: list[int], out: object) -> None:
    assert_same(F.adaptive_avg_pool2d, meta(*size), out)


def test_what_was_asked_once_is_not_asked_again() -> None:
    answers, asked = ShapeAnswers(), []

    def counting(x: Tensor) -> Tensor:
        asked.append(1)
        return torch.softmax(x, 1)

    from bnguard._trace import shapes

    shapes._HOW[counting] = ShapeAnswers.remember
    try:
        for _ in range(3):
            assert answers.ask(counting, (meta(2, 3),), {}).shape == (2, 3)
        answers.ask(counting, (meta(2, 4),), {})
    finally:
        del shapes._HOW[counting]
    assert len(asked) == 2


def test_a_tensor_with_values_is_never_remembered() -> None:
    answers = ShapeAnswers()
    first = answers.ask(torch.softmax, (torch.zeros(2), 0), {})
    second = answers.ask(torch.softmax, (torch.tensor([0.0, 9.0]), 0), {})
    assert not torch.equal(first, second)
