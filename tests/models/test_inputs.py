"""Inputs: the text, the library's spellings, what a model declares, and guesses that run."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import bnguard
from bnguard._errors import BnguardError, InputError
from bnguard._models import inputs as module
from bnguard._models.inputs import TensorSpec, parse_input


@given(
    name=st.none() | st.from_regex(r"[a-z_]\w{0,6}", fullmatch=True).filter(str.isascii),
    shape=st.lists(st.integers(1, 4096), min_size=1, max_size=5),
    dtype=st.sampled_from([None, "float32", "float16", "int64", "bool"]),
)
def test_what_is_written_is_what_is_read(name: str | None, shape: list[int], dtype: str | None) -> None:
    text = (f"{name}=" if name else "") + ",".join(map(str, shape)) + (f":{dtype}" if dtype else "")
    assert parse_input(text) == TensorSpec(tuple(shape), getattr(torch, dtype or "float32"), name)


@settings(max_examples=300)
@given(st.text(alphabet="0123456789,=:-. xfloatin64", max_size=16))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        spec = parse_input(text)
    except InputError as error:
        assert error.hint
        assert "\n" not in error.message
    else:
        assert all(size > 0 for size in spec.shape)


@pytest.mark.parametrize("text", ["", "3,x", "0,3", "-1,3", "3,224:foo", "a=b=3", "3;224", "3.5,2"])
def test_wrong_texts(text: str) -> None:
    with pytest.raises(InputError):
        parse_input(text)


@pytest.mark.parametrize(
    ("given_inputs", "shapes"),
    [
        ((3, 8, 8), [(2, 3, 8, 8)]),
        ([3, 8, 8], [(2, 3, 8, 8)]),
        ("3,8,8", [(2, 3, 8, 8)]),
        ([(3, 8, 8), (4,)], [(2, 3, 8, 8), (2, 4)]),
        (torch.zeros(5, 3, 8, 8), [(2, 3, 8, 8)]),
        ((torch.zeros(1, 3), torch.zeros(1, 4)), [(2, 3), (2, 4)]),
        ({"image": (3, 8, 8), "mask": "8,8:int64"}, [(2, 3, 8, 8), (2, 8, 8)]),
        (lambda n: torch.zeros(n, 7), [(2, 7)]),
    ],
)
def test_the_librarys_spellings(given_inputs: object, shapes: list[tuple[int, ...]]) -> None:
    assert [f.shape for f in module.as_recipe(given_inputs).facts(2)] == shapes


@pytest.mark.parametrize("wrong", [3, object(), (3, -1), [(3, "x"), 4.5], []])
def test_inputs_that_mean_nothing(wrong: object) -> None:
    with pytest.raises(InputError):
        module.as_recipe(wrong)


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(left)) - self.bn(self.conv(right))


class TwoBranches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.text = nn.EmbeddingBag(50, 4)

    def forward(self, image: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.image(image) + self.text(tokens)


class Cifar(nn.Module):
    """Only 32 x 32 fits the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 256, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class FlatMnist(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(784, 16), nn.BatchNorm1d(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        return self.bn(self.fc(x.view(n, c * h * w)))


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.bn = nn.LSTM(12, 8, batch_first=True), nn.BatchNorm1d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.rnn(x)[0][:, -1])


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.bn = nn.Embedding(100, 8), nn.BatchNorm1d(8)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.bn(self.embed(tokens).mean(1))


def volume() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4))


def generator() -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(100, 8, 4), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 3, 4, 2, 1))


def half() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).half()


@pytest.mark.parametrize(
    ("build", "first"),
    [
        (Siamese, (1, 3, 224, 224)),
        (TwoBranches, (1, 3, 224, 224)),
        (Cifar, (1, 3, 32, 32)),
        (FlatMnist, (1, 1, 28, 28)),
        (Sequence, (1, 128, 12)),
        (Tokens, (1, 128)),
        (volume, (1, 1, 16, 112, 112)),
        (generator, (1, 100, 1, 1)),
        (half, (1, 4)),
    ],
)
def test_a_guess_is_found_that_really_runs(build, first: tuple[int, ...]) -> None:
    fact = bnguard.scan(build(), batch_size=1).models[0]
    assert fact.trace_error is None
    assert {i.source for i in fact.inputs} == {"assumed"}
    assert fact.inputs[0].shape == first
    real = [torch.zeros((2, *i.shape[1:]), dtype=getattr(torch, i.dtype)) for i in fact.inputs]
    build()(*real)  # at two samples a real forward takes what was guessed


def test_what_the_model_declares_comes_before_guesses() -> None:
    class Lightning(Cifar):
        example_input_array = torch.zeros(4, 3, 32, 32)

    class Timm(Cifar):
        pretrained_cfg = {"input_size": (3, 32, 32)}  # noqa: RUF012

    assert bnguard.scan(Lightning()).models[0].inputs[0].source == "example_input_array"
    assert bnguard.scan(Lightning()).models[0].inputs[0].shape == (1, 3, 32, 32)
    assert bnguard.scan(Timm()).models[0].inputs[0].source == "pretrained_cfg"


def test_a_model_no_guess_fits_still_lists_its_layers() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(3)

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.bn(batch["pixels"])

    fact = bnguard.scan(Odd()).models[0]
    assert [(x.name, x.verdict) for x in fact.layers] == [("bn", "unknown")]
    assert fact.layers[0].reason
    assert bnguard.scan(Odd(), lambda n: ({"pixels": torch.zeros(n, 3, 1, 1)},)).models[0].first_failure == "bn"


def test_dicts_given_as_one_argument() -> None:
    class TakesKeywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(4)

        def forward(self, *, x: torch.Tensor) -> torch.Tensor:
            return self.bn(x)

    assert bnguard.scan(TakesKeywords(), {"x": (4,)}).models[0].first_failure == "bn"


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"mode": "test"}, {"device": "tpu"}])
def test_options_that_mean_nothing(options: dict[str, object]) -> None:
    with pytest.raises(BnguardError):
        bnguard.scan(Cifar(), **options)


@pytest.mark.parametrize("inputs", [None, (3, 96, 96)])
def test_a_detector_takes_images_and_targets(inputs: tuple[int, ...] | None) -> None:
    target = "torchvision.models.detection:ssdlite320_mobilenet_v3_large(weights=None,weights_backbone=None)"
    fact = bnguard.scan(target, inputs).models[0]
    assert (fact.method, fact.trace_error) == ("real", None)
    assert fact.inputs[0].shape == (1, *(inputs or (3, 224, 224)))
    assert fact.first_failure == "backbone.extra.3.1.1"
