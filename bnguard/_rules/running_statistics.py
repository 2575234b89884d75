"""BN3xx: what a layer's running statistics hold, where real values are at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bnguard import _remedies as remedies
from bnguard._facts.findings import Finding, Severity
from bnguard._facts.models import LayerFact, ModelFact, StatisticsFact
from bnguard._rules.registry import CONV_NET, IMAGES, Example, Rule, subject_of

_COLLAPSED_SHARE = 0.1
"""From this share of collapsed channels on, it is no longer a dead channel or two."""


def _holding(model: ModelFact, test: Callable[[StatisticsFact], bool]) -> list[LayerFact]:
    return [x for x in model.layers if x.statistics is not None and test(x.statistics)]


def _nonfinite(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = _holding(model, lambda s: s.nonfinite > 0)
    if layers:
        first = layers[0]
        count = first.statistics.nonfinite if first.statistics else 0
        yield rule.about(
            model,
            first,
            f"has running statistics that are NaN, infinite or negative in variance in {count} of {first.num_features} "
            "channels",
            remedies.RESET_STATISTICS.for_case(),
            subject=subject_of(layers, first),
            consequence="in eval mode their outputs are NaN or worthless",
        )


def _never_updated(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = _holding(model, lambda s: s.never_updated)
    used = [x for x in layers if model.mode == "eval" or not x.training]
    if used:
        yield rule.about(
            model,
            used[0],
            "is used in eval mode, but its running statistics were never updated: mean 0 and variance 1 stand where "
            "the data's should",
            remedies.LOAD_STATISTICS.for_case(),
            subject=subject_of(used),
        )


def _collapsed(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = _holding(model, lambda s: s.collapsed >= _COLLAPSED_SHARE)
    if layers:
        worst = max(layers, key=lambda x: x.statistics.collapsed if x.statistics else 0)
        share = worst.statistics.collapsed if worst.statistics else 0
        yield rule.about(
            model,
            worst,
            f"has a running variance that has collapsed to 0 in {share:.0%} of the channels, the mark of training on "
            "single samples or of dead inputs",
            remedies.LARGER_BATCHES.for_case("train with batches of at least two samples"),
            remedies.RESET_STATISTICS.for_case("start the averages anew with reset_running_stats()"),
            subject=subject_of(layers, worst),
        )


RULES: list[Rule] = [
    Rule(
        "BN301",
        "nonfinite-statistics",
        Severity.ERROR,
        "running statistics hold NaN or infinity",
        why="""
        One batch with a NaN or an overflow in half precision is enough: running = 0.9 × running + 0.1 × NaN stays NaN
        for ever. Training goes on unharmed, since it uses the batch; evaluation returns NaN. A channel whose one value
        was pushed through torch.batch_norm directly also leaves NaN: the unbiased variance divides by n - 1 = 0.
        """,
        fix="Load an earlier checkpoint, or call reset_running_stats() and run training batches in train mode.",
        needs="statistics",
        remedies=(remedies.RESET_STATISTICS,),
        example=Example(
            wrong=CONV_NET + 'x = torch.full((8, 3, 8, 8), float("nan"))\nmodel(x)',
            right=CONV_NET + IMAGES + "model(x)",
        ),
        check_model=_nonfinite,
    ),
    Rule(
        "BN302",
        "never-updated",
        Severity.WARNING,
        "running statistics never updated, yet used in eval mode",
        why="""
        A new BatchNorm layer starts with mean 0, variance 1 and a counter of 0. In eval mode it normalises with these,
        which is to say not at all, until a forward in train mode has moved them. Weights loaded with strict=False and
        mismatched names leave layers in this state without a word.
        """,
        fix="Load the trained statistics, or run training batches through in train mode before evaluating.",
        needs="statistics",
        remedies=(remedies.LOAD_STATISTICS,),
        covered_by="training",
        example=Example(
            wrong="model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()\nx = torch.randn(8, 3, 8, 8)",
            right=CONV_NET + IMAGES + "model(x)\nmodel.eval()",
        ),
        check_model=_never_updated,
    ),
    Rule(
        "BN303",
        "collapsed-variance",
        Severity.WARNING,
        "running variance collapsed towards 0 in a share of the channels",
        why="""
        When every training batch gives a channel the same value, the running variance decays towards 0 by a tenth each
        step. Batches of one sample do that to layers on small maps, and a dead ReLU in front does it to its channels.
        In eval mode such a channel divides by sqrt(eps) and amplifies whatever comes 300 times.
        """,
        fix="Train with at least two samples a batch; look for inputs that are constant; reset the statistics.",
        needs="statistics",
        remedies=(remedies.LARGER_BATCHES, remedies.RESET_STATISTICS),
        example=Example(
            wrong=CONV_NET + "x = torch.zeros(8, 3, 8, 8)\nfor _ in range(200):\n    model(x)",
            right=CONV_NET + IMAGES + "for _ in range(200):\n    model(x)",
        ),
        check_model=_collapsed,
    ),
]
