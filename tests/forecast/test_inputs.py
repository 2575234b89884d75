"""What of a sample the forward gets: told by the signature, tried, and said."""

from __future__ import annotations

import random
from collections import UserDict
from typing import Any

import numpy as np
import pytest
import torch
from forecast import nets
from torch import nn
from torch.utils.data import DataLoader, Dataset

import bnguard
from bnguard._forecast.inputs import Wanted, selections

A, B, Y = torch.zeros(1, 3), torch.ones(1, 4), torch.zeros(1)


def first(forward, batch) -> Any:
    return next(iter(selections(batch, Wanted.by(forward))))(batch)


def every(forward, batch) -> list[Any]:
    return [way(batch) for way in selections(batch, Wanted.by(forward))]


def test_the_usual_calls_come_first():
    assert first(lambda x: 0, [A, Y]) == ((A,), {})
    assert first(lambda a, b: 0, [A, B, Y]) == ((A, B), {})
    assert first(lambda a, b, scale=2: 0, [A, B, Y]) == ((A, B), {})
    assert first(lambda x: 0, A) == ((A,), {})
    assert first(lambda a, mask=None: 0, {"a": A, "mask": B, "y": Y}) == ((), {"a": A, "mask": B})
    assert first(lambda batch: 0, {"a": A, "y": Y}) == (({"a": A, "y": Y},), {})
    assert first(lambda *xs: 0, [A, Y]) == ((A,), {})


def test_the_less_usual_ones_come_after_them():
    pair = [[A, B], Y]
    assert ((A, B), {}) in every(lambda a, b: 0, pair)
    assert ((), {"a": A, "b": B}) in every(lambda a, b: 0, [{"a": A, "b": B}, Y])
    assert ((A, Y), {}) in every(lambda x, target=None: 0, [A, Y])
    assert (([A, Y],), {}) in every(lambda batch: 0, [A, Y])
    assert ((A,), {}) in every(lambda x: 0, {"image": A, "label": Y})
    assert ((), {"image": A, "label": Y}) in every(lambda **kwargs: 0, {"image": A, "label": Y})
    graph = UserDict()
    graph.x, graph.edges = A, B
    assert ((), {"x": A, "edges": B}) not in every(lambda x, other: 0, graph)

    class Graph:
        x, edges = A, B

    assert ((), {"x": A, "edges": B}) in every(lambda x, edges: 0, Graph())


class Items(Dataset):
    """Counts how often it is asked, and moves every generator as augmentations do."""

    def __init__(self, make, n: int = 9) -> None:
        self.make, self.n, self.asked = make, n, []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int):
        self.asked.append(i)
        torch.rand(1), random.random(), np.random.rand()
        return self.make()


def forecast(model: nn.Module, make, collate=None, inputs=None):
    return bnguard.forecast(model, DataLoader(Items(make), 8, collate_fn=collate), inputs).forecasts[0]


def learned(fact) -> str:
    (note,) = [n for n in fact.notes if n.startswith("one sample")]
    return note.partition("input: ")[2]


def test_one_sample_is_fetched_once():
    data = Items(lambda: (torch.randn(3, 8, 8), 1))
    loader = DataLoader(data, 8)
    report = bnguard.forecast([nets.cnn(), nets.spatial()], loader)
    assert len(data.asked) == 2  # once for each model
    assert [f.stops for f in report.forecasts] == [True, False]
    assert learned(report.forecasts[0]) == "3\u00d78\u00d78"
    assert bnguard.forecast(nets.cnn(), DataLoader(data, 8), (3, 8, 8)).forecasts[0].notes == ()
    assert len(data.asked) == 2


def test_the_first_index_is_the_one_the_sampler_would_give():
    data = Items(lambda: torch.randn(3, 8, 8))
    bnguard.forecast(nets.cnn(), DataLoader(data, 8, sampler=[6, 2, 3, 4, 5, 6, 7, 8, 1]))
    assert data.asked == [6]


def test_what_training_loops_do_to_a_batch_is_tried():
    double = forecast(nets.cnn(), lambda: (np.zeros((3, 8, 8)), 1))
    assert (double.layer, learned(double)) == ("5", "3\u00d78\u00d78, taken as float32")
    pixels = forecast(nets.cnn(), lambda: (torch.zeros(3, 8, 8, dtype=torch.uint8), 1))
    assert (pixels.layer, learned(pixels)) == ("5", "3\u00d78\u00d78, taken as float32")
    mlp = nn.Sequential(nn.Linear(784, 8), nn.BatchNorm1d(8))
    flat = forecast(mlp, lambda: (torch.zeros(1, 28, 28), 1))
    assert (flat.layer, learned(flat)) == ("1", "784, flattened")


class OfBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nets.cnn()

    def forward(self, batch):
        return self.net(batch["image"])


class OfBoth(OfBatch):
    def forward(self, images, targets=None):
        assert targets is not None
        return self.net(torch.stack(list(images)))


def test_batches_of_other_forms():
    whole = forecast(OfBatch(), lambda: {"image": torch.randn(3, 8, 8), "id": "a"})
    assert (whole.step, whole.layer) == (2, "net.5")
    lists = forecast(OfBoth(), lambda: (torch.randn(3, 8, 8), {"n": 1}), collate=lambda b: tuple(zip(*b, strict=True)))
    assert (lists.step, lists.layer) == (2, "net.5")
    crops = forecast(nets.cnn(), lambda: torch.randn(2, 3, 8, 8), collate=torch.cat)
    assert (crops.stops, crops.size(1).single) == (False, 0)  # two crops a sample: one sample is two
    times = forecast(Recurrent(), lambda: torch.randn(7, 5), collate=lambda b: torch.stack(b, 1))
    assert (times.step, times.layer, times.shape) == (2, "norm", (1, 6))


class Recurrent(nn.Module):
    """Takes time first, so that the batch is the second dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.norm = nn.GRU(5, 6), nn.BatchNorm1d(6)

    def forward(self, x):
        return self.norm(self.rnn(x)[0][-1])


def test_a_collate_function_that_takes_keys_out_of_its_items():
    def collate(items):
        labels = [item.pop("label") for item in items]
        return {"image": torch.stack([item["image"] for item in items]), "label": labels}

    fact = forecast(OfBatch(), lambda: {"image": torch.randn(3, 8, 8), "label": 1}, collate)
    assert fact.layer == "net.5"


class Tall(Dataset):
    def __len__(self) -> int:
        return 9

    def __getitem__(self, i: int):
        raise FileNotFoundError("image.png")


def test_what_cannot_be_known_is_said():
    absent = bnguard.forecast(nets.cnn(), DataLoader(Tall(), 8))
    (fact,) = absent.forecasts
    assert fact.stops is None
    assert "FileNotFoundError: image.png" in fact.unknown
    assert [f.code for f in absent.findings] == ["DL101"]  # judged by the batches alone, as ever
    other = forecast(nets.cnn(), lambda: torch.randn(5))
    assert other.stops is None
    assert "takes no part of the sample" in other.unknown
    assert any("inputs=" in note for note in other.notes)

    class Once(torch.utils.data.IterableDataset):
        def __init__(self) -> None:
            self.lines = (x for x in torch.randn(9, 3, 8, 8))

        def __iter__(self):
            return self.lines

    once = Once()
    (fact,) = bnguard.forecast(nets.cnn(), DataLoader(once, 8)).forecasts
    assert fact.stops is None
    assert "cannot be copied" in fact.unknown
    assert len(list(once)) == 9


def test_a_model_that_says_its_input_helps_where_the_loader_cannot():
    net = nets.cnn()
    net.example_input_array = torch.zeros(2, 3, 8, 8)
    (fact,) = bnguard.forecast(net, DataLoader(Tall(), 8)).forecasts
    assert (fact.step, fact.layer) == (2, "5")
    assert any("example_input_array" in note for note in fact.notes)


def test_numbers_take_what_a_scan_would_take():
    (fact,) = bnguard.forecast(nets.cnn(), {"n": 9, "batch_size": 8}).forecasts
    assert (fact.step, fact.layer) == (2, "5")
    assert any("assumed" in note for note in fact.notes)


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        ({"n": 9, "batchsize": 8}, ["batchsize", "batch_size"]),
        ({"n": "9..40", "batch_size": 8}, ["range"]),
        ({"batch_size": 8}, ["n and batch_size"]),
        ([1, 2], ["no DataLoader"]),
        ("missing.py:loader", ["missing.py"]),
    ],
)
def test_a_loader_that_is_none(loader, words: list[str]):
    with pytest.raises(bnguard.BnguardError) as caught:
        bnguard.forecast(nets.cnn(), loader)
    assert all(word in f"{caught.value.message} {caught.value.hint}" for word in words)


@pytest.mark.parametrize(("model", "word"), [([], "no model"), (3, "neither"), ("weights.pth", "checkpoint")])
def test_a_model_that_is_none(model, word: str):
    with pytest.raises(bnguard.BnguardError, match=word):
        bnguard.forecast(model, {"n": 9, "batch_size": 8})
