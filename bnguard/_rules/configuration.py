"""BN2xx: how a layer is configured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bnguard import _remedies as remedies
from bnguard._facts.findings import Finding, Severity
from bnguard._facts.loaders import dimensions
from bnguard._facts.models import LayerFact, ModelFact, NormCall
from bnguard._facts.norm_kinds import BATCH, KINDS
from bnguard._remedies import Advice
from bnguard._rules.registry import CONV_NET, IMAGES, Example, Rule, subject_of

_KERAS_MOMENTUM = 0.9
"""From here on a momentum reads like Keras' share to keep, not PyTorch's share to take in."""


def _batch(model: ModelFact) -> Iterable[LayerFact]:
    return (x for x in model.layers if x.norm is BATCH)


def _momentum(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = [
        x
        for x in _batch(model)
        if x.momentum is not None
        and x.track_running_stats
        and _KERAS_MOMENTUM <= x.momentum <= 1
        and x.type != "functional"
    ]
    if layers:
        momentum = float(layers[0].momentum or 0)
        meant = round(1 - momentum, 6)
        yield rule.about(
            model,
            layers[0],
            f"has momentum={momentum:g}: the running statistics become {momentum:.0%} of the last batch and forget the "
            "rest",
            remedies.MOMENTUM.for_case(
                f"if {momentum:g} was copied from Keras or TensorFlow, PyTorch's value is momentum={meant:g}"
            ),
            subject=subject_of(layers),
        )


def _half_frozen(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    if model.mode != "train":
        return
    tracked = [x for x in _batch(model) if x.affine and x.track_running_stats and x.type != "functional"]
    moving = [x for x in tracked if x.training and not x.affine_trains]
    still = [x for x in tracked if not x.training and x.affine_trains]
    if moving:
        yield rule.about(
            model,
            moving[0],
            "has requires_grad=False on weight and bias, but is in training mode: its running statistics still move "
            "with every batch",
            remedies.FREEZE.for_case("freeze it for good", price="", more=f", only={_only(moving)}"),
            subject=subject_of(moving),
        )
    if still:
        yield rule.about(
            model,
            still[0],
            "stays in eval mode under model.train(), so that its running statistics are frozen, but its weight and "
            "bias still learn",
            remedies.FREEZE_AFFINE.for_case(),
            subject=subject_of(still),
            severity=Severity.NOTE,
        )


def _is_mixed(call: NormCall) -> bool:
    """Whether a call is rejected with parameters of another dtype; without parameters nothing is mixed."""
    return bool(call.rejected) and call.param_dtype not in (None, call.dtype)


def _dtype_mix(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = [x for x in model.layers if x.eps > 0 and any(map(_is_mixed, x.calls))]
    if layers:
        first = min(layers, key=lambda x: x.order or 0)
        call = next(filter(_is_mixed, first.calls))
        yield rule.about(
            model,
            first,
            f"gets {call.dtype} input, but its parameters are {call.param_dtype}: batch_norm rejects the mix "
            f"({call.rejected})",
            remedies.CONVERT_INPUT.for_case(
                f"convert the layer with the rest of the model, or the input to {call.param_dtype}; under autocast "
                "leave the model in float32"
            ),
            subject=subject_of(layers, first),
        )


def _eps(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    refused = [x for x in _batch(model) if x.eps <= 0]
    if refused:
        stops = any(c.rejected for x in refused for c in x.calls)  # releases differ in what they check
        who = "PyTorch refuses it" if stops else "newer releases of PyTorch refuse it"
        yield rule.about(
            model,
            refused[0],
            f"has eps={refused[0].eps:g}: training divides by a variance that may be 0, and {who}",
            remedies.EPS.for_case(),
            subject=subject_of(refused),
            severity=rule.severity if stops else Severity.WARNING,
        )
    small = [x for x in _batch(model) if any(c.eps_avoids_cudnn for c in x.calls)]
    if small:
        yield rule.about(
            model,
            small[0],
            f"has eps={small[0].eps:g}, below this cuDNN's minimum: on a GPU PyTorch uses its own kernel instead",
            remedies.EPS.for_case("correct as it is; eps=1e-5 brings cuDNN back"),
            subject=subject_of(small),
            severity=Severity.NOTE,
        )


def _only(layers: Sequence[LayerFact]) -> str:
    """Return what names these layers in a line of Python."""
    names = [x.name for x in layers]
    return repr(names[0]) if len(names) == 1 else repr(names) if len(names) <= 3 else "[…]"


def _replacement(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    for kind in (k for k in KINDS if not k.crosses_samples):
        layers = [x for x in model.layers if x.norm is kind and x.fewest_values == 1]
        raising = sorted((x for x in layers if x.verdict == "fails"), key=lambda x: x.order or 0)
        silent = [x for x in layers if x.verdict != "fails"]
        if raising:
            call = next(c for c in raising[0].calls if c.raises)
            always = "" if kind.grows_with_batch else " at any batch size"
            yield rule.about(
                model,
                raising[0],
                f"gets {dimensions(call.shape)}: one value per statistic, so the forward raises ValueError{always}",
                _more_values(raising[0]),
                subject=f"{subject_of(raising)} ({kind.title})",
                severity=Severity.ERROR,
            )
        if silent:
            yield rule.about(
                model,
                silent[0],
                "normalises one value per statistic: nothing raises, but its output is its bias, whatever the input",
                _more_values(silent[0]),
                subject=f"{subject_of(silent)} ({kind.title})",
                severity=Severity.WARNING,
            )


def _more_values(layer: LayerFact) -> Advice:
    if remedies.FEWER_GROUPS.kind in layer.norm.remedies:
        if layer.num_features and layer.num_groups and layer.num_features > 1:
            groups = max((g for g in range(1, layer.num_features // 2 + 1) if layer.num_features % g == 0), default=1)
            return remedies.FEWER_GROUPS.for_case(
                f"at most {groups} groups leave at least two values in each of them here"
            )
        return remedies.FEWER_GROUPS.for_case()
    return remedies.LARGER_INPUT.for_case("normalise before the map shrinks to one pixel, or give a larger input")


RULES: list[Rule] = [
    Rule(
        "BN201",
        "keras-momentum",
        Severity.WARNING,
        "momentum looks like the Keras or TensorFlow convention",
        why="""
        PyTorch updates running = (1 - momentum) × running + momentum × batch, with a default of 0.1. Keras and
        TensorFlow count the other way round, with a default of 0.99. A momentum of 0.9 or more in PyTorch keeps hardly
        anything but the last batch, so that evaluation normalises with whatever came last; if that was a tail batch of
        one sample, with that sample's statistics.
        """,
        fix="Use 1 - value: Keras' 0.99 is PyTorch's 0.01, 0.9 is 0.1. momentum=None gives a cumulative average.",
        needs="configuration",
        remedies=(remedies.MOMENTUM,),
        example=Example(
            wrong="model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.99))\n" + IMAGES,
            right="model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.01))\n" + IMAGES,
        ),
        check_model=_momentum,
    ),
    Rule(
        "BN202",
        "half-frozen",
        Severity.WARNING,
        "half-frozen: affine parameters do not learn but running statistics still move, or the reverse",
        why="""
        A BatchNorm layer has two parts to freeze. requires_grad=False stops weight and bias. The running statistics
        move in the forward, not in the optimizer: only eval mode stops them, and the next model.train() puts every
        submodule back into training mode.
        """,
        fix="""
        Freezing with bnguard does both, and lasts. By hand: set requires_grad=False and override train() of the module
        that owns the layers, so that it calls eval() on them after super().train().
        """,
        needs="configuration",
        remedies=(remedies.FREEZE, remedies.FREEZE_AFFINE),
        example=Example(
            wrong=CONV_NET + "model[1].requires_grad_(False)\n" + IMAGES,
            right=CONV_NET + "bnguard.repair.freeze(model)\n" + IMAGES,
        ),
        check_model=_half_frozen,
    ),
    Rule(
        "BN203",
        "dtype-mix",
        Severity.ERROR,
        "a mix of dtypes that batch_norm rejects",
        why="""
        batch_norm takes half-precision input with float32 parameters, but not the reverse. A model converted with
        .half() and fed float32, or a layer converted on its own, raises at the first batch.
        """,
        fix="""
        Convert the whole model and its input alike, or leave the model in float32 and use torch.autocast, which runs
        batch_norm in float32.
        """,
        needs="calls",
        remedies=(remedies.KEEP_FLOAT32, remedies.CONVERT_INPUT),
        example=Example(
            wrong="model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).half())\nx = torch.randn(8, 3, 8, 8)",
            right=CONV_NET + IMAGES,
        ),
        check_model=_dtype_mix,
    ),
    Rule(
        "BN204",
        "eps",
        Severity.ERROR,
        "eps that training rejects, or (as a note) that keeps cuDNN from being used",
        why="""
        eps keeps the division by the standard deviation finite. PyTorch rejects eps ≤ 0 in training. cuDNN up to
        version 7 asked for at least 1e-5, later ones do not: where PyTorch says that it would avoid cuDNN for this eps
        alone, its own CUDA kernel runs, which is correct but may be slower.
        """,
        fix="Use the default of 1e-5 unless a pretrained model was trained with another value.",
        needs="configuration",
        remedies=(remedies.EPS,),
        example=Example(
            wrong="model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=0.0))\nx = torch.randn(8, 3, 8, 8)",
            right=CONV_NET + IMAGES,
        ),
        check_model=_eps,
    ),
    Rule(
        "BN205",
        "replacement-fails-too",
        Severity.ERROR,
        "GroupNorm or InstanceNorm that meets one value per statistic",
        why="""
        The usual replacements have the same limit in another place. InstanceNorm takes its statistics over space alone
        and raises on a 1×1 map at any batch size. GroupNorm takes them over a group's channels and space: one channel
        per group on a 1×1 map raises at batch size 1, and at larger ones passes silently with the bias as its output,
        since PyTorch counts the batch's values together in its check.
        """,
        fix="""
        Choose fewer groups, so that each holds at least two values at the smallest map, or normalise before the map
        shrinks to one pixel.
        """,
        needs="calls",
        remedies=(remedies.FEWER_GROUPS, remedies.LARGER_INPUT),
        covered_by="stop-at-the-layer",
        example=Example(
            wrong="model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.GroupNorm(4, 4))\nx = torch.randn(1, 3, 8, 8)",
            right="model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.GroupNorm(2, 4))\nx = torch.randn(1, 3, 8, 8)",
        ),
        check_model=_replacement,
    ),
]
