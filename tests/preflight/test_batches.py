"""Recorded arguments at other batch sizes: a real model takes them, and their shapes are what the loop would give."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from bnguard._preflight.batches import Kind, RecordedInputs, batch_size_of, tensors_in


def shapes(recipe: RecordedInputs, batch_size: int, device: str = "meta") -> list[tuple[int, ...]]:
    args, kwargs = recipe.make(batch_size, device)
    return [tuple(t.shape) for t in (*args, *kwargs.values()) if isinstance(t, torch.Tensor)]


@given(st.integers(2, 6), st.integers(1, 9), st.integers(1, 4))
def test_what_is_made_from_a_batch_follows_its_size(n: int, other: int, pieces: int) -> None:
    def loop(size: int) -> tuple[torch.Tensor, ...]:
        x = torch.zeros(size, 50, 3)
        return x, torch.cat([x] * pieces), x.transpose(0, 1), torch.zeros(1, 51), torch.tensor(0.5)

    recipe = RecordedInputs((loop(n), {}), n)
    for device in ("meta", "cpu"):
        expected = [tuple(t.shape) for t in loop(other)]
        expected[2] = expected[2] if 50 % n else shapes(recipe, other, device)[2]  # steps that n divides are ambiguous
        assert shapes(recipe, other, device) == expected


def test_values_are_kept_where_values_are_asked_for() -> None:
    words = torch.tensor([[5, 7], [9, 11]])
    (made,), kwargs = RecordedInputs(((words,), {"flag": True, "scale": 2}), 2).make(3, "cpu")
    assert made.tolist() == [[5, 7], [9, 11], [5, 7]]
    assert kwargs == {"flag": True, "scale": 2}
    assert nn.Embedding(12, 4)(made).shape == (3, 2, 4)


def test_a_detector_gets_one_image_and_one_target_for_each_sample() -> None:
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)
    image = torch.rand(3, 320, 320)
    target = {"boxes": torch.tensor([[1.0, 1.0, 90.0, 90.0]]), "labels": torch.ones(1, dtype=torch.int64)}
    for kind in (list, tuple):
        recipe = RecordedInputs(((kind([image] * 3), kind([target] * 3)), {}), 3)
        args, _ = recipe.make(2, "cpu")
        assert [len(a) for a in args] == [2, 2]
    assert set(model(*(list(a) for a in args))) == {"bbox_regression", "classification"}
    images, _ = recipe.make(4, "meta")[0]
    assert [i.device.type for i in images] == ["meta"] * 4


def test_the_size_of_a_batch() -> None:
    image, target = torch.rand(3, 8, 8), {"boxes": torch.zeros(1, 4)}
    assert batch_size_of([torch.zeros(5, 3), torch.zeros(5)], 8) == 5
    assert batch_size_of({"x": torch.zeros(2, 3), "names": ["a", "b"]}, 2) == 2
    assert batch_size_of((tuple([image] * 4), tuple([target] * 4)), 4) == 4
    assert batch_size_of((tuple([image] * 1), tuple([target] * 1)), 4) == 1
    assert batch_size_of(torch.zeros(7), None) == 7
    assert batch_size_of("text", 4) is None


def test_tensors_are_found_within_objects_but_not_without_end() -> None:
    class Graph:
        def __init__(self) -> None:
            self.x, self.inside = torch.zeros(5, 2), {"y": [torch.zeros(3)]}

    assert [tuple(t.shape) for t in tensors_in((Graph(), "text", 3))] == [(5, 2), (3,)]
    endless: list[object] = []
    endless.append(endless)
    assert list(tensors_in(endless)) == []
    assert list(tensors_in(nn.Linear(2, 2))) == []


def test_the_kind_of_a_batch_is_its_sizes() -> None:
    one, other = (
        Kind({"x": torch.zeros(4, 3, 8), "y": torch.zeros(4)}),
        Kind({"x": torch.zeros(4, 3, 2), "y": torch.zeros(4)}),
    )
    assert one.leading == other.leading == (4, 4)
    assert (one.others, other.others) == ((3, 8), (3, 2))
    assert Kind([["a", "b", "c"]]).leading == (3,)
    assert not Kind(object()).visible
