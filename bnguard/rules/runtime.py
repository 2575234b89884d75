"""RT1xx: what a training run met.

They are found by ``bnguard.runtime`` while it runs, not by judging facts; RT104 can be foreseen as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bnguard.facts import SourceLine
from bnguard.findings import Finding, Severity
from bnguard.rules.registry import Rule
from bnguard.rules.words import what

if TYPE_CHECKING:
    from bnguard.forecast_facts import ForecastFact
    from bnguard.loader_facts import LoaderFact


def silent_single_sample(layer: str, source: SourceLine | None, first_step: int, times: int) -> Finding:
    """Return the RT105 of one layer."""
    rule = RULES[-1]
    return Finding(
        rule.code,
        rule.severity,
        f"{layer or 'the model itself'} normalised a batch of one sample in training mode {times} "
        f"{'time' if times == 1 else 'times'}, first in step {first_step}.",
        fix="Join the tail to the batch before it, nothing is lost: bnguard.repair.merge_tail(loader).",
        layer=layer,
        location=source,
    )


def _foreseen(loader: LoaderFact, forecast: ForecastFact, rule: Rule) -> Iterator[Finding]:
    """Say of a layer that refuses its input by itself, at every batch size, what no other rule can."""
    at = forecast.at
    if at is None or at.cause != "refused" or at.shape is not None:
        return
    yield Finding(
        rule.code,
        rule.severity,
        f"{loader.name}: {what(at.label, at.layer_type, at.num_features)} refuses its input at step {forecast.step} of "
        f"{forecast.steps} ({at.message}): {'training' if loader.mode == 'train' else 'evaluation'} stops",
        fix="Add the batch dimension with unsqueeze(0), move the channels to dimension 1, or correct num_features.",
        model=forecast.model,
        layer=at.layer,
        loader=loader.name,
        location=at.source,
    )


RULES: list[Rule] = [
    Rule(
        "RT101",
        "one-value-at-run-time",
        Severity.ERROR,
        "one value per channel at run time",
        why="""
        In training mode each channel is normalised with the mean and variance of this batch. With one sample
        and one position there is one value, the variance is 0, and PyTorch raises "Expected more than 1 value
        per channel when training" before it computes anything. The same network may have run for a whole epoch:
        its last batch was short.
        """,
        fix="""
        Merge the tail into the batch before it, which loses nothing: bnguard.repair.merge_tail(loader). Or choose
        another batch size, drop the tail, give the layer a larger input, or use running statistics there:
        bnguard.repair.allow_single_sample(model).
        """,
    ),
    Rule(
        "RT102",
        "cudnn-refused",
        Severity.ERROR,
        "CUDNN_STATUS_NOT_SUPPORTED (and its cuDNN siblings) in a BatchNorm call",
        why="""
        cuDNN refused the call that PyTorch chose it for. The message mentions a non-contiguous input, and that
        is rarely the reason: a batch of one sample or a very large one in some releases, more than 2³¹ - 1
        elements, a mix of dtypes, channels_last, a build that does not fit the card, or exhausted memory end in
        the same words.
        """,
        fix="""
        Look at which replay succeeds. With cuDNN disabled the native kernel takes the call; a contiguous input,
        float32 parameters or two samples prove another cause. A newer PyTorch build brings a newer cuDNN.
        """,
    ),
    Rule(
        "RT103",
        "dtypes-at-run-time",
        Severity.ERROR,
        "dtype mismatch in a BatchNorm call",
        why="""
        BatchNorm takes parameters in the input's dtype, or float32 parameters with a half-precision input.
        Others are refused, and which ones depends on the device and on the kernel: a model that trains under
        cuDNN can fail in eval mode, where the native kernel is used.
        """,
        fix="Keep the layer's parameters and statistics in float32 and let torch.autocast choose the input's dtype.",
    ),
    Rule(
        "RT104",
        "shape-at-run-time",
        Severity.ERROR,
        "channel count differs from num_features, or the input has the wrong rank",
        why="""
        The channel is dimension 1 of the input, whatever the layer. A sample without its batch dimension, an
        image with its channels last, or a sequence as (N, L, C) puts another size there.
        """,
        fix="Add the batch dimension with unsqueeze(0), move the channels to dimension 1, or correct num_features.",
        check_forecast=_foreseen,
    ),
    Rule(
        "RT105",
        "silent-single-sample",
        Severity.WARNING,
        "a single-sample batch went through BatchNorm in training mode without an error",
        why="""
        With several positions a single sample has a variance, so nothing is raised: the layer normalises the
        image by itself, and a tenth of its running statistics are from then on those of one image. In
        evaluation, much later, the accuracy is lower than in training.
        """,
        fix="""
        Merge the tail into the batch before it (bnguard.repair.merge_tail), balance the batches, or keep the running
        statistics of a pretrained model: bnguard.repair.freeze(model).
        """,
    ),
]
