"""Cause, evidence and replays: against what PyTorch really raises, and against cuDNN's words on any machine."""

from __future__ import annotations

import pytest
import torch
from diagnose import models, wordings
from diagnose.wordings import refusing
from torch import nn

import bnguard
from bnguard._diagnose.classify import classify
from bnguard._diagnose.evidence import assess
from bnguard._facts.diagnosis import Diagnosis, Replay


def diagnosed(model: nn.Module, x: torch.Tensor, **options) -> Diagnosis:
    with pytest.raises(Exception) as caught, bnguard.guard(model, **options):  # noqa: PT011
        model(x)
    return caught.value.bnguard


# ---------------------------------------------------------------------------- what PyTorch raises


@pytest.mark.parametrize(
    ("make", "shape", "cause", "code"),
    [
        (lambda: nn.BatchNorm1d(4), (1, 4), "one-value-per-channel", "RT101"),
        (lambda: nn.BatchNorm2d(4), (1, 4, 1, 1), "one-value-per-channel", "RT101"),
        (lambda: nn.BatchNorm3d(4, track_running_stats=False), (1, 4, 1, 1, 1), "one-value-per-channel", "RT101"),
        (lambda: nn.BatchNorm2d(4), (2, 5, 3, 3), "channel-mismatch", "RT104"),
        (lambda: nn.BatchNorm2d(4, affine=False), (2, 5, 3, 3), "channel-mismatch", "RT104"),
        (lambda: nn.BatchNorm2d(4), (4, 3, 3), "rank-mismatch", "RT104"),
        (lambda: nn.BatchNorm1d(4), (2, 4, 3, 3), "rank-mismatch", "RT104"),
        (lambda: nn.BatchNorm2d(4).half(), (2, 4, 3, 3), "dtype-mismatch", "RT103"),
    ],
)  # fmt: skip
def test_the_causes_that_pytorch_words(make, shape: tuple[int, ...], cause: str, code: str) -> None:
    found = diagnosed(nn.Sequential(make()), torch.randn(shape))
    assert (found.layer, found.cause, found.code, found.shape) == ("0", cause, code, shape)
    assert found.confidence > 0.9
    assert found.evidence
    assert found.workarounds


def helping(found: Diagnosis) -> set[str]:
    return {r.change for r in found.replays if r.succeeds}


def test_replays_of_one_value() -> None:
    found = diagnosed(nn.Sequential(nn.BatchNorm1d(4)), torch.randn(1, 4))
    assert helping(found) == {"running statistics", "the batch doubled"}


def test_replays_of_mixed_dtypes() -> None:
    assert "float32" in helping(diagnosed(nn.Sequential(nn.BatchNorm2d(4).half()), torch.randn(2, 4, 3, 3)))


def test_replays_touch_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(4))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(1, 4, 3, 3, requires_grad=True)
    rng, version = torch.get_rng_state(), x._version
    with refusing(wordings.OLD, when=lambda x, cudnn: cudnn):
        found = diagnosed(model, x)
    assert "cuDNN disabled" in helping(found)
    # the layer itself counts the batch before it calls, in plain PyTorch too
    state["0.num_batches_tracked"] += 1
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())
    assert (x.grad, x._version) == (None, version)
    assert torch.backends.cudnn.enabled


# ---------------------------------------------------------------------------- what cuDNN says


@pytest.mark.parametrize("text", [wordings.OLD, wordings.NEW, wordings.VERY_OLD])
def test_cudnn_wordings(text: str) -> None:
    with refusing(text):
        found = diagnosed(models.Conv(), torch.randn(2, 3, 8, 8))
    assert (found.layer, found.cause, found.code) == ("bn1", "cudnn-not-supported", "RT102")
    assert found.status.startswith("CUDNN_STATUS_NOT_SUPPORTED")
    assert [h.cause for h in found.hypotheses] == ["cudnn-build"]
    assert found.confidence < 0.5, "nothing speaks for any cause"
    assert max(map(len, found.text().splitlines())) <= 80


@pytest.mark.parametrize(
    ("refused", "x", "cause"),
    [
        (lambda x, c: x.shape[0] == 1, torch.randn(1, 4, 3, 3), "single-sample"),
        (lambda x, c: not x.is_contiguous(), torch.randn(2, 4, 3, 6)[..., ::2], "strides"),
        (lambda x, c: x.dtype == torch.bfloat16, torch.randn(2, 4, 3, 3).bfloat16(), "dtypes"),
    ],
    ids=["single sample", "strides", "dtype"],
)
def test_replays_prove_the_cause(refused, x: torch.Tensor, cause: str) -> None:
    with refusing(wordings.OLD, when=refused):
        found = diagnosed(nn.Sequential(nn.BatchNorm2d(4)), x)
    assert found.hypotheses[0].cause == cause
    assert found.confidence == 1
    assert "succeeds with" in found.evidence[0]


def test_the_words_do_not_decide() -> None:
    """The text blames contiguity; the input is contiguous and only its size is refused."""
    with refusing(wordings.OLD, when=lambda x, cudnn: cudnn):
        found = diagnosed(nn.Sequential(nn.BatchNorm2d(4)), torch.randn(2, 4, 3, 3))
    assert "strides" not in [h.cause for h in found.hypotheses]
    assert "without cuDNN" in found.workarounds[0]


def test_an_error_that_does_not_come_again() -> None:
    first = iter([True])
    with refusing(wordings.OLD, when=lambda x, cudnn: next(first, False)):
        found = diagnosed(nn.Sequential(nn.BatchNorm2d(4)), torch.randn(1, 4, 3, 3))
    assert any("repeated" in e for e in found.evidence)
    assert found.confidence < 0.5


def cudnn(**facts) -> Diagnosis:
    return assess(Diagnosis(**{"mode": "train", "batch_statistics": True} | facts), classify(wordings.OLD))


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ({"shape": (1, 4, 3, 3)}, "single-sample"),
        ({"shape": (131_071, 4)}, "large-batch"),
        ({"shape": (65_536, 4), "batch_statistics": False, "mode": "eval"}, "large-batch"),
        ({"shape": (2, 64, 4096, 4096)}, "many-elements"),
        ({"shape": (2, 4, 3, 3), "memory_format": "strided", "strides": (1, 2, 3, 4)}, "strides"),
        ({"shape": (2, 4, 3, 3), "dtype": "float16", "param_dtype": "float16"}, "dtypes"),
        ({"shape": (2, 4, 3, 3), "dtype": "float32", "param_dtype": "float16"}, "dtypes"),
        ({"shape": (2, 4, 3, 3), "dtype": "bfloat16", "param_dtype": "float32"}, "dtypes"),
        ({"shape": (2, 4, 3, 3), "memory_format": "channels_last"}, "memory-format"),
        ({"shape": (2, 4, 3, 3), "eps": 1e-6}, "eps"),
        ({"shape": (2, 4, 3, 3), "free_memory": 2**20}, "memory"),
        ({"shape": (2, 4, 3, 3)}, "cudnn-build"),
    ],
)
def test_evidence_without_replays(facts: dict[str, object], cause: str) -> None:
    found = cudnn(**facts)
    assert found.hypotheses[0].cause == cause
    assert found.confidence == found.hypotheses[0].confidence < 0.9
    assert len(found.workarounds) >= len(found.hypotheses)


def test_what_fits_speaks_for_nothing() -> None:
    ordinary = cudnn(
        shape=(8, 4, 3, 3), dtype="float16", param_dtype="float32", memory_format="contiguous", eps=1e-5,
        free_memory=2**33,
    )  # fmt: skip
    assert [h.cause for h in ordinary.hypotheses] == ["cudnn-build"]


def test_two_changes_that_help_prove_less() -> None:
    control = Replay("nothing changed", False, "x")
    one = cudnn(shape=(1, 4), replays=(control, Replay("the batch doubled", True)))
    two = cudnn(shape=(1, 4), replays=(control, Replay("the batch doubled", True), Replay("float32", True)))
    assert one.confidence > two.confidence


# ---------------------------------------------------------------------------- others


@pytest.mark.parametrize("text", [wordings.ASSERT, wordings.EXECUTION])
def test_errors_that_arrive_late_name_no_layer_for_sure(text: str) -> None:
    with refusing(text):
        found = diagnosed(models.Conv(), torch.randn(2, 3, 8, 8))
    assert (found.layer, found.candidates, found.place) == (None, ("bn1",), "unknown")
    assert found.replays == ()
    assert any("later than they happen" in e for e in found.evidence)
    assert any("CUDA_LAUNCH_BLOCKING=1" in w for w in found.workarounds)


def test_out_of_memory() -> None:
    with refusing(wordings.OUT_OF_MEMORY):
        found = diagnosed(models.Conv(), torch.randn(2, 3, 8, 8))
    assert (found.layer, found.cause, found.code) == ("bn1", "out-of-memory", None)


def test_json_and_width() -> None:
    import json

    for found in (Diagnosis(), cudnn(shape=(1, 4)), diagnosed(models.Deep(), torch.randn(1, 4))):
        assert json.loads(json.dumps(found.to_dict()))["cause"] == found.cause
        assert max(map(len, found.text().splitlines())) <= 80
        assert found.text().startswith("bnguard: ")


def test_no_torch_is_needed_for_text() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from bnguard._diagnose.evidence import assess; from bnguard._facts.diagnosis import Diagnosis;"
        "from bnguard import Diagnosis as same; assert same is Diagnosis; Diagnosis().text();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnAGpu:
    def test_one_value(self) -> None:
        found = diagnosed(models.Deep().cuda(), torch.randn(1, 4).cuda())
        assert (found.layer, found.code, found.device) == ("blocks.0.norm", "RT101", "cuda:0")
        assert found.gpu
        assert found.cudnn_version
        assert found.free_memory

    def test_dtypes(self) -> None:
        found = diagnosed(nn.Sequential(nn.BatchNorm2d(4).half()).cuda(), torch.randn(2, 4, 3, 3).cuda())
        assert (found.layer, found.code) == ("0", "RT103")
        assert "float32" in helping(found)

    def test_replays_with_and_without_cudnn(self) -> None:
        model = nn.Sequential(nn.BatchNorm2d(4)).cuda()
        with refusing(wordings.OLD, when=lambda x, cudnn: cudnn):
            found = diagnosed(model, torch.randn(2, 4, 8, 8).cuda())
        assert found.backend == "cudnn"
        assert helping(found) == {"cuDNN disabled"}

    def test_backward_of_cudnn(self) -> None:
        model = models.Conv().cuda()
        out = model(torch.randn(2, 3, 8, 8).cuda())
        assert "BatchNorm" in out.grad_fn.name()

        def refuse(*_: object) -> None:
            raise RuntimeError(wordings.OLD)

        out.grad_fn.register_prehook(refuse)
        with pytest.raises(RuntimeError) as caught, bnguard.guard(model):
            out.sum().backward()
        assert (caught.value.bnguard.layer, caught.value.bnguard.shape) == ("bn2", (2, 6, 8, 8))
