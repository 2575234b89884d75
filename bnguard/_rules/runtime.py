"""RT1xx: what a training run met.

They are found by ``bnguard._diagnose`` while it runs, not by judging facts; RT104 can be foreseen as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bnguard import _remedies as remedies
from bnguard._facts.findings import Consequence, Finding, Severity
from bnguard._facts.models import SourceLine
from bnguard._rules.registry import Example, Rule, layer_and_class, work_of

if TYPE_CHECKING:
    from bnguard._facts.diagnosis import Diagnosis
    from bnguard._facts.forecasts import ForecastFact
    from bnguard._facts.loaders import LoaderFact


def code_of(cause: str) -> str | None:
    """Return the code of the rule about failures with this cause; None where no normalisation layer is meant."""
    codes = (r.code for r in RULES for c in r.causes if cause == c or (c.endswith("-") and cause.startswith(c)))
    return next(codes, None)


def of_failure(diagnosed: Diagnosis, cause: str, *, model: str | None, loader: str | None, at: str) -> Finding:
    """Return what a failure at run time comes to.

    ``cause`` says what failed and why in one clause, ``at`` where in the run it happened.
    """
    assert diagnosed.code is not None
    return Finding(
        diagnosed.code,
        Severity.ERROR,
        f"{cause}, in {at}",
        remedies=diagnosed.remedies[:2],
        model=model,
        layer=diagnosed.layer,
        loader=loader,
        layer_line=diagnosed.source,
    )


def silent_single_sample(layer: str, source: SourceLine | None, first_step: int, times: int) -> Finding:
    """Return the RT105 of one layer."""
    rule = RULES[-1]
    return Finding(
        rule.code,
        rule.severity,
        f"normalised a batch of one sample in training mode {times} {'time' if times == 1 else 'times'}, first in step "
        f"{first_step}",
        subject=layer or "the model itself",
        remedies=(remedies.MERGE_TAIL.for_case(),),
        layer=layer,
        layer_line=source,
    )


def _foreseen(loader: LoaderFact, forecast: ForecastFact, rule: Rule) -> Iterator[Finding]:
    """Say of a layer that refuses its input by itself, at every batch size, what no other rule can."""
    at = forecast.at
    if at is None or at.cause != "refused" or at.shape is not None:
        return
    yield Finding(
        rule.code,
        rule.severity,
        f"{layer_and_class(at.label, at.layer_type, at.num_features)} refuses its input at "
        f"{forecast.place or 'any step'} ({at.message})",
        consequence=Consequence(f"{work_of(loader.mode)} stops", joint=": "),
        remedies=tuple(remedy.for_case() for remedy in _for_the_shape(at.message or "")),
        model=forecast.model,
        layer=at.layer,
        loader=loader.name,
        layer_line=at.source,
        loader_line=loader.source,
    )


def _for_the_shape(message: str) -> tuple[remedies.Remedy, ...]:
    """Return what helps a layer that refuses its input, by the words of PyTorch: dimensions, or channels."""
    lacks_one = "D input" in message
    return (remedies.BATCH_DIMENSION, remedies.CHANNELS_SECOND) if lacks_one else (remedies.CHANNELS_SECOND,)


RULES: list[Rule] = [
    Rule(
        "RT101",
        "one-value-at-run-time",
        Severity.ERROR,
        "one value per channel at run time",
        why="""
        In training mode each channel is normalised with the mean and variance of this batch. With one sample and one
        position there is one value, the variance is 0, and PyTorch raises "Expected more than 1 value per channel when
        training" before it computes anything. The same network may have run for a whole epoch: its last batch was
        short.
        """,
        fix="""
        Cheapest first. A larger input gives the layer more values where it sees a map, and never behind global pooling.
        """,
        needs="run",
        causes=("one-value-per-channel",),
        remedies=(remedies.MERGE_TAIL, remedies.BATCH_SIZE, remedies.LARGER_INPUT, remedies.ALLOW_SINGLE_SAMPLE),
        example=Example(
            wrong="model = nn.BatchNorm1d(4)\nx = torch.randn(1, 4)",
            right="model = nn.BatchNorm1d(4)\nx = torch.randn(2, 4)",
        ),
    ),
    Rule(
        "RT102",
        "cudnn-refused",
        Severity.ERROR,
        "CUDNN_STATUS_NOT_SUPPORTED (and its cuDNN siblings) in a BatchNorm call",
        why="""
        cuDNN refused the call that PyTorch chose it for. The message mentions a non-contiguous input, and that is
        rarely the reason: a batch of one sample or a very large one in some releases, more than 2³¹ - 1 elements, a mix
        of dtypes, channels_last, a build that does not fit the card, or exhausted memory end in the same words.
        """,
        fix="""
        Look at which replay succeeds. With cuDNN disabled the native kernel takes the call; a contiguous input, float32
        parameters or two samples prove another cause. A newer PyTorch build brings a newer cuDNN.
        """,
        needs="run",
        causes=("cudnn-",),
        remedies=(remedies.WITHOUT_CUDNN, remedies.KEEP_FLOAT32, remedies.UPDATE_BUILD),
        example=Example(
            wrong="model = nn.BatchNorm2d(4)\nx = torch.randn(2, 4, 3, 3)  # for a card whose cuDNN refuses the call",
            right="""
            model = nn.BatchNorm2d(4)
            x = torch.randn(2, 4, 3, 3)
            torch.backends.cudnn.enabled = False  # PyTorch's own kernel takes the call
            """,
        ),
    ),
    Rule(
        "RT103",
        "dtypes-at-run-time",
        Severity.ERROR,
        "dtype mismatch in a BatchNorm call",
        why="""
        BatchNorm takes parameters in the input's dtype, or float32 parameters with a half-precision input. Others are
        refused, and which ones depends on the device and on the kernel: a model that trains under cuDNN can fail in
        eval mode, where the native kernel is used.
        """,
        fix="Keep the layer's parameters and statistics in float32 and let torch.autocast choose the input's dtype.",
        needs="run",
        causes=("dtype-mismatch",),
        remedies=(remedies.KEEP_FLOAT32, remedies.CONVERT_INPUT),
        example=Example(
            wrong="model = nn.BatchNorm2d(4).half()\nx = torch.randn(2, 4, 3, 3)",
            right="model = nn.BatchNorm2d(4)\nx = torch.randn(2, 4, 3, 3)",
        ),
    ),
    Rule(
        "RT104",
        "shape-at-run-time",
        Severity.ERROR,
        "channel count differs from num_features, or the input has the wrong rank",
        why="""
        The channel is dimension 1 of the input, whatever the layer. A sample without its batch dimension, an image with
        its channels last, or a sequence as (N, L, C) puts another size there.
        """,
        fix="Add the batch dimension with unsqueeze(0), move the channels to dimension 1, or correct num_features.",
        needs="run",
        causes=("channel-mismatch", "rank-mismatch"),
        remedies=(remedies.CHANNELS_SECOND, remedies.BATCH_DIMENSION),
        example=Example(
            wrong="model = nn.BatchNorm2d(4)\nx = torch.randn(2, 3, 3, 4)",
            right="model = nn.BatchNorm2d(4)\nx = torch.randn(2, 3, 3, 4).movedim(-1, 1)",
        ),
        check_forecast=_foreseen,
    ),
    Rule(
        "RT105",
        "silent-single-sample",
        Severity.WARNING,
        "a single-sample batch went through BatchNorm in training mode without an error",
        why="""
        With several positions a single sample has a variance, so nothing is raised: the layer normalises the image by
        itself, and a tenth of its running statistics are from then on those of one image. In evaluation, much later,
        the accuracy is lower than in training.
        """,
        fix="Balancing the batches does as well; the statistics of a pretrained model can be kept as they are.",
        needs="run",
        remedies=(remedies.MERGE_TAIL, remedies.FREEZE),
        example=Example(
            wrong="model = nn.BatchNorm2d(4)\nx = torch.randn(1, 4, 3, 3)",
            right="model = nn.BatchNorm2d(4)\nx = torch.randn(2, 4, 3, 3)",
        ),
    ),
]
