"""BN1xx: what a layer does at the batch size that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnguard.facts import THIN_VALUES, LayerFact, ModelFact, NormCall
from bnguard.findings import Finding, Severity
from bnguard.norm_kinds import BATCH
from bnguard.rules.registry import Rule
from bnguard.rules.words import what

KEEP_THE_BATCH = (
    "Write x.flatten(1) for x.squeeze(), or name its dimensions: without them it drops every dimension of size 1, the "
    "batch as well."
)


def _shape(call: NormCall) -> str:
    return "×".join(map(str, call.shape))


def _what(layer: LayerFact) -> str:
    return what(layer.label, layer.type, layer.num_features)


def _fails(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    failing = [x for x in model.failing if x.norm.crosses_samples and any(c.raises for c in x.calls)]
    for layer in failing:
        call = next(c for c in layer.calls if c.raises)
        first = layer.name == model.first_failure
        place = "training stops here first" if first else "fails as well"
        yield rule.about(
            model,
            layer,
            f"{_what(layer)} gets {_shape(call)} at batch size {model.batch_size}: one value per channel has no "
            f"variance, so the forward raises ValueError; {place}.",
            fix=_remedy(layer) if first or len(failing) == 1 else None,
        )


def _remedy(layer: LayerFact) -> str:
    ways = []
    if layer.min_batch_size:
        size = "" if layer.min_batch_size == 2 else f", min_size={layer.min_batch_size}"
        ways.append(
            f"never let a training batch hold fewer than {layer.min_batch_size} samples: "
            f"bnguard.repair.merge_tail(loader{size}) joins a tail to the batch before it"
        )
    if layer.larger_input:
        ways.append(
            f"an input of {'×'.join(map(str, layer.larger_input[1:]))}, where this layer sees more than one pixel"
        )
    helps = "allow-single-sample" in layer.norm.remedies
    if helps and layer.track_running_stats and layer.type != "functional":
        ways.append("let a lone sample use the running statistics: bnguard.repair.allow_single_sample(model)")
    return f"{ways[0][0].upper()}{ways[0][1:]}" + "".join(f"; or {way}" for way in ways[1:]) + "."


def _single(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = [x for x in model.layers if x.verdict == "single-sample"]
    if not layers:
        return
    fewest = min(layers, key=lambda x: x.fewest_values or 0)
    count = f"{len(layers)} layers take" if len(layers) > 1 else f"{_what(layers[0])} takes"
    flat = (
        ""
        if fewest.fewest_values != 1
        else (". With one value nothing is raised there, but the output is the bias, whatever the input")
    )
    yield rule.about(
        model,
        fewest,
        f"{count} mean and variance from a single sample at batch size {model.batch_size}; the fewest values per "
        f"channel are {fewest.fewest_values}, at {fewest.label}{flat}.",
        fix="It runs, but each image is normalised by itself and pulls the running statistics its way: train with "
        "larger batches, or keep these layers as they are pretrained: bnguard.repair.freeze(model).",
    )


def _thin(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = [x for x in model.layers if x.verdict == "thin" and x.norm.crosses_samples]
    if not layers:
        return
    fewest = min(layers, key=lambda x: x.fewest_values or 0)
    enough = _enough(fewest, model.batch_size)
    yield rule.about(
        model,
        fewest,
        f"{_layers(layers)} {'estimate' if len(layers) > 1 else 'estimates'} mean and variance from fewer than "
        f"{THIN_VALUES} values per channel at batch size {model.batch_size}; the fewest are {fewest.fewest_values}, "
        f"at {fewest.label}.",
        fix=f"A batch size of {enough} gives {fewest.label} at least {THIN_VALUES}." if enough else None,
    )


def _layers(layers: Sequence[LayerFact]) -> str:
    return f"{len(layers)} layers" if len(layers) > 1 else _what(layers[0])


def _enough(layer: LayerFact, batch_size: int) -> int | None:
    values = layer.fewest_values
    return None if not values else -(-THIN_VALUES * batch_size // values)


def _untracked(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = [x for x in model.layers if x.norm is BATCH and not x.track_running_stats and x.type != "functional"]
    if not layers:
        return
    first = layers[0]
    wrong = [x for x in layers if model.mode == "eval" and x.verdict == "fails"]
    tail = (
        "the forward raises at batch size 1 there"
        if wrong or any(c.values_per_channel == c.shape[0] for x in layers for c in x.calls)
        else "a prediction depends on the other samples in its batch"
    )
    others = f" (and {len(layers) - 1} more)" if len(layers) > 1 else ""
    yield rule.about(
        model,
        first,
        f"{_what(first)}{others} keeps no running statistics (track_running_stats=False): it uses the batch in eval "
        f"mode too, and {tail}.",
        fix="Drop track_running_stats=False, or normalise without the batch (GroupNorm, LayerNorm).",
    )


def _lost_dimension(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    for layer in model.failing:
        if not layer.calls and layer.reason:
            yield rule.about(
                model,
                layer,
                f"{_what(layer)} refuses its input at batch size {model.batch_size} ({layer.reason}), and takes it at "
                f"{model.batch_size + 1}: the batch dimension is lost on the way.",
                fix=KEEP_THE_BATCH,
            )


RULES: list[Rule] = [
    Rule(
        "BN101",
        "one-value-per-channel",
        Severity.ERROR,
        "one value per channel with batch statistics: the forward raises ValueError",
        why="""
        In training mode BatchNorm subtracts the mean of the values that share a channel and divides by their
        standard deviation. A channel's values are N × space: every sample, every pixel. With one sample and one
        pixel there is one value, its mean is itself, its variance is 0, and the output would be the bias whatever
        the input was. PyTorch refuses: "Expected more than 1 value per channel when training".

        It happens at BatchNorm1d after a Linear layer, behind global pooling (DeepLab's ASPP, pyramid pooling,
        squeeze-and-excitation), and in the deep layers of a network on small images, where the map has shrunk
        to one pixel. The batch of one is rarely meant: it is the tail of an epoch whose number of samples leaves a
        remainder of 1.
        """,
        fix="""
        Cheapest first. Join the tail to the batch before it (bnguard.repair.merge_tail), or choose a batch size that
        leaves no remainder of 1: nothing is lost. drop_last=True loses the tail's samples in every epoch, and every
        batch if there are fewer samples than the batch size. Layers in eval mode use their running statistics and do
        not fail, but model.train() undoes that: bnguard.repair.freeze lasts, and allow_single_sample does it for lone
        samples alone.

        GroupNorm (bnguard.repair.to_group_norm) does not look across samples, but needs retraining, and one channel
        per group on one pixel fails in the same way. SyncBatchNorm helps only with several ranks on accelerators.
        """,
        check_model=_fails,
    ),
    Rule(
        "BN102",
        "single-sample-statistics",
        Severity.WARNING,
        "mean and variance are taken from a single sample",
        why="""
        One sample with more than one pixel per channel does not raise: its own pixels give a mean and a variance.
        Each image is then normalised by itself, as InstanceNorm would, while the running statistics that
        evaluation uses move towards each image in turn. Training and evaluation drift apart.
        """,
        fix="""
        Train with larger batches, accumulate gradients only over batches that are large enough themselves
        (accumulation does not enlarge the batch that BatchNorm sees), freeze pretrained BatchNorm layers with
        bnguard.repair.freeze, or use a normalisation that does not look across samples.
        """,
        check_model=_single,
    ),
    Rule(
        "BN103",
        "thin-statistics",
        Severity.NOTE,
        f"fewer than {THIN_VALUES} values per channel at the batch size in use",
        why=f"""
        A variance estimated from a handful of values is noisy: its relative error is about sqrt(2 / (n - 1)), over
        a third at {THIN_VALUES} values. The noise acts on every activation of the channel and on its running variance.
        """,
        fix="""
        A larger batch or a larger input gives more values. Where memory forbids it, freeze the layer's
        statistics or use GroupNorm.
        """,
        check_model=_thin,
    ),
    Rule(
        "BN104",
        "no-running-statistics",
        Severity.ERROR,
        "no running statistics: batch statistics are used in eval mode too",
        why="""
        With track_running_stats=False a BatchNorm layer has no running mean and variance, so that model.eval()
        changes nothing: it normalises with the batch at hand. A prediction then depends on which other samples
        happen to be in the batch, and a single sample raises where the layer sees one value per channel.
        """,
        fix="""
        Leave track_running_stats at True. If batch statistics at inference are meant (style transfer, some
        domain adaptation), InstanceNorm says so and does not depend on other samples.
        """,
        check_model=_untracked,
    ),
    Rule(
        "BN105",
        "lost-batch-dimension",
        Severity.ERROR,
        "a layer refuses its input at this batch size, and takes it with one sample more",
        why="""
        x.squeeze() drops every dimension of size 1. Behind a global pool it turns (N, C, 1, 1) into (N, C), except at
        batch size 1, where the batch dimension goes too and BatchNorm1d raises "expected 2D or 3D input (got 1D
        input)". Without BatchNorm the same line passes silently and the loss is taken over the wrong dimension.
        """,
        fix="""
        Write x.flatten(1), or name the dimensions: x.squeeze(-1).squeeze(-1).
        """,
        check_model=_lost_dimension,
    ),
]
