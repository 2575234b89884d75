"""BN1xx: what a layer does at the batch size that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnguard import _remedies as remedies
from bnguard._facts.findings import Finding, Severity
from bnguard._facts.loaders import dimensions
from bnguard._facts.models import THIN_VALUES, LayerFact, Mode, ModelFact
from bnguard._facts.norm_kinds import BATCH
from bnguard._remedies import Advice
from bnguard._rules.registry import Example, Rule, and_others, layer_and_class, work_of

SINGLE_SAMPLE = "BN102"
"""The code that other rules refer to where a single sample runs."""

_SQUEEZES = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool, self.bn = nn.AdaptiveAvgPool2d(1), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.bn(self.pool(x).squeeze())


model, x = Net(), torch.randn(1, 3, 8, 8)
"""


def _what(layer: LayerFact) -> str:
    return layer_and_class(layer.label, layer.type, layer.num_features)


def _fails(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    work = work_of(model.mode)
    failing = [x for x in model.failing if x.norm.crosses_samples and any(c.raises for c in x.calls)]
    if model.mode == "eval":
        failing = [x for x in failing if not _keeps_none(x)]  # BN104 says it, and what to do
    for layer in failing:
        call = next(c for c in layer.calls if c.raises)
        first = layer.name == model.first_failure
        yield rule.about(
            model,
            layer,
            f"gets {dimensions(call.shape)} at batch size {model.batch_size}: one value per channel has no variance, "
            "so the forward raises ValueError",
            *(_ways_out(layer, model.mode) if first or len(failing) == 1 else ()),
            subject=_what(layer),
            consequence=f"{work} stops here first" if first else "fails as well",
        )


def _ways_out(layer: LayerFact, mode: Mode) -> Iterator[Advice]:
    if layer.min_batch_size and mode == "train":
        yield remedies.MERGE_TAIL.for_case(
            f"merge a tail into the batch before it, so that no training batch holds fewer than {layer.min_batch_size} "
            "samples",
            more="" if layer.min_batch_size == 2 else f", min_size={layer.min_batch_size}",
        )
    if layer.larger_input:
        yield remedies.LARGER_INPUT.for_case(
            f"give an input of {dimensions(layer.larger_input[1:])}, where this layer sees more than one pixel"
        )
    helps = remedies.ALLOW_SINGLE_SAMPLE.kind in layer.norm.remedies
    if helps and layer.track_running_stats and layer.type != "functional":
        yield remedies.ALLOW_SINGLE_SAMPLE.for_case()


def _single(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = [x for x in model.layers if x.verdict == "single-sample"]
    if not layers:
        return
    fewest = min(layers, key=lambda x: x.fewest_values or 0)
    flat = (
        ""
        if fewest.fewest_values != 1
        else ". With one value nothing is raised there, but the output is the bias, whatever the input"
    )
    yield rule.about(
        model,
        fewest,
        f"{'take' if len(layers) > 1 else 'takes'} mean and variance from a single sample at batch size "
        f"{model.batch_size}",
        remedies.LARGER_BATCHES.for_case("train with larger batches: each image is normalised by itself now"),
        remedies.FREEZE.for_case(),
        subject=_layers(layers),
        consequence=f"the fewest values per channel are {fewest.fewest_values}, at {fewest.label}{flat}",
    )


def _thin(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = [x for x in model.layers if x.verdict == "thin" and x.norm.crosses_samples]
    if not layers:
        return
    fewest = min(layers, key=lambda x: x.fewest_values or 0)
    enough = _enough(fewest, model.batch_size)
    does = f"a batch size of {enough} gives {fewest.label} at least {THIN_VALUES}"
    yield rule.about(
        model,
        fewest,
        f"{'estimate' if len(layers) > 1 else 'estimates'} mean and variance from fewer than {THIN_VALUES} values per "
        f"channel at batch size {model.batch_size}",
        *((remedies.BATCH_SIZE.for_case(does, price=""),) if enough else ()),
        subject=_layers(layers),
        consequence=f"the fewest are {fewest.fewest_values}, at {fewest.label}",
    )


def _layers(layers: Sequence[LayerFact]) -> str:
    return f"{len(layers)} layers" if len(layers) > 1 else _what(layers[0])


def _enough(layer: LayerFact, batch_size: int) -> int | None:
    values = layer.fewest_values
    return None if not values else -(-THIN_VALUES * batch_size // values)


def _keeps_none(layer: LayerFact) -> bool:
    return layer.norm is BATCH and not layer.track_running_stats and layer.type != "functional"


def _untracked(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    layers = [x for x in model.layers if _keeps_none(x)]
    if not layers:
        return
    raises = model.mode == "eval" and any(x.verdict == "fails" for x in layers)
    after = "the forward raises at batch size 1 there" if raises else "a prediction depends on its whole batch"
    yield rule.about(
        model,
        layers[0],
        f"keeps no running statistics (track_running_stats=False): it uses the batch in eval mode too, and {after}",
        remedies.TRACK_STATISTICS.for_case(),
        subject=f"{_what(layers[0])}{and_others(layers)}",
    )


def _lost_dimension(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    for layer in model.failing:
        if not layer.calls and layer.reason:
            yield rule.about(
                model,
                layer,
                f"refuses its input at batch size {model.batch_size} ({layer.reason}), and takes it at "
                f"{model.batch_size + 1}: the batch dimension is lost on the way",
                remedies.KEEP_BATCH_DIMENSION.for_case(),
                subject=_what(layer),
            )


def _chosen_rows(model: ModelFact, rule: Rule) -> Iterator[Finding]:
    for layer in model.layers:
        if layer.verdict == "data-dependent":
            more = f", only=[{layer.name!r}]" if layer.name else ""
            helps = remedies.ALLOW_SINGLE_SAMPLE.kind in layer.norm.remedies
            helps = helps and layer.track_running_stats and layer.type != "functional"
            yield rule.about(
                model,
                layer,
                "gets as many values per channel as the data leave (a mask, objects, nodes, tokens)",
                *((remedies.ALLOW_SINGLE_SAMPLE.for_case(more=more),) if helps else ()),
                subject=_what(layer),
                consequence="no batch size promises two of them, and at one the forward raises ValueError",
            )


RULES: list[Rule] = [
    Rule(
        "BN101",
        "one-value-per-channel",
        Severity.ERROR,
        "one value per channel with batch statistics: the forward raises ValueError",
        why="""
        In training mode BatchNorm subtracts the mean of the values that share a channel and divides by their standard
        deviation. A channel's values are N × space: every sample, every pixel. With one sample and one pixel there is
        one value, its mean is itself, its variance is 0, and the output would be the bias whatever the input was.
        PyTorch refuses: "Expected more than 1 value per channel when training".

        It happens at BatchNorm1d after a Linear layer, behind global pooling (DeepLab's ASPP, pyramid pooling,
        squeeze-and-excitation), and in the deep layers of a network on small images, where the map has shrunk to one
        pixel. The batch of one is rarely meant: it is the tail of an epoch whose number of samples leaves a remainder
        of 1.
        """,
        fix="""
        Layers in eval mode use their running statistics and do not fail, but model.train() undoes that; freezing lasts.
        drop_last=True leaves no batch at all if there are fewer samples than the batch size. GroupNorm with one channel
        per group on one pixel fails in the same way. SyncBatchNorm helps only with several ranks on accelerators.
        """,
        needs="batch-size",
        remedies=(
            remedies.MERGE_TAIL,
            remedies.BATCH_SIZE,
            remedies.ALLOW_SINGLE_SAMPLE,
            remedies.FREEZE,
            remedies.GROUP_NORM,
        ),
        covered_by="stop",
        example=Example(
            wrong="model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))\nx = torch.randn(1, 8)",
            right="model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))\nx = torch.randn(2, 8)",
        ),
        check_model=_fails,
    ),
    Rule(
        SINGLE_SAMPLE,
        "single-sample-statistics",
        Severity.WARNING,
        "mean and variance are taken from a single sample",
        why="""
        One sample with more than one pixel per channel does not raise: its own pixels give a mean and a variance. Each
        image is then normalised by itself, as InstanceNorm would, while the running statistics that evaluation uses
        move towards each image in turn. Training and evaluation drift apart.
        """,
        fix="""
        Accumulate gradients only over batches that are large enough themselves: accumulation does not enlarge the batch
        that BatchNorm sees.
        """,
        needs="batch-size",
        remedies=(remedies.LARGER_BATCHES, remedies.FREEZE, remedies.GROUP_NORM),
        covered_by="forecast",
        example=Example(
            wrong="model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))\nx = torch.randn(1, 3, 16, 16)",
            right="model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))\nx = torch.randn(2, 3, 16, 16)",
        ),
        check_model=_single,
    ),
    Rule(
        "BN103",
        "thin-statistics",
        Severity.NOTE,
        f"fewer than {THIN_VALUES} values per channel at the batch size in use",
        why=f"""
        A variance estimated from a handful of values is noisy: its relative error is about sqrt(2 / (n - 1)), over a
        third at {THIN_VALUES} values. The noise acts on every activation of the channel and on its running variance.
        """,
        fix="""
        A larger batch or a larger input gives more values. Where memory forbids it, freeze the layer's statistics or
        use GroupNorm.
        """,
        needs="batch-size",
        remedies=(remedies.LARGER_INPUT, remedies.FREEZE, remedies.GROUP_NORM),
        covered_by="forecast",
        example=Example(
            wrong="model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))\nx = torch.randn(8, 8)",
            right="model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))\nx = torch.randn(16, 8)",
        ),
        check_model=_thin,
    ),
    Rule(
        "BN104",
        "no-running-statistics",
        Severity.ERROR,
        "no running statistics: batch statistics are used in eval mode too",
        why="""
        With track_running_stats=False a BatchNorm layer has no running mean and variance, so that model.eval() changes
        nothing: it normalises with the batch at hand. A prediction then depends on which other samples happen to be in
        the batch, and a single sample raises where the layer sees one value per channel.
        """,
        fix="""
        Leave track_running_stats at True. If batch statistics at inference are meant (style transfer, some domain
        adaptation), InstanceNorm says so and does not depend on other samples.
        """,
        needs="batch-size",
        remedies=(remedies.TRACK_STATISTICS,),
        covered_by="stop-at-the-layer",
        example=Example(
            wrong="""
            model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval()
            x = torch.randn(16, 8)
            """,
            right="model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)).eval()\nx = torch.randn(16, 8)",
        ),
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
        fix="Write x.flatten(1), or name the dimensions: x.squeeze(-1).squeeze(-1).",
        needs="batch-size",
        remedies=(remedies.KEEP_BATCH_DIMENSION,),
        covered_by="stop",
        example=Example(
            wrong=_SQUEEZES,
            right=_SQUEEZES.replace("squeeze()", "flatten(1)"),
        ),
        check_model=_lost_dimension,
    ),
    Rule(
        "BN106",
        "rows-chosen-by-data",
        Severity.WARNING,
        "the data choose how many values a layer gets (mask, objects, nodes): no batch size promises two",
        why="""
        Behind a mask, nonzero, unique or non-maximum suppression the number of rows is not the batch size: it is the
        number of valid tokens, objects or proposals in the batch. A batch of many samples may leave one of them, and
        BatchNorm in training mode refuses one value per channel. The loader is innocent, and no setting of it helps.
        """,
        fix="""
        Let the layer take its running statistics where one row is left, or choose a normalisation that does not look
        across rows. Skipping such a batch in the training loop works as well.
        """,
        needs="batch-size",
        remedies=(remedies.ALLOW_SINGLE_SAMPLE, remedies.GROUP_NORM),
        example=Example(
            wrong="""
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.bn = nn.BatchNorm1d(4)

                def forward(self, x):
                    return self.bn(x[x[:, 0] > 0])


            model, x = Net(), torch.rand(8, 4)
            """,
            right="""
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.bn = nn.BatchNorm1d(4)

                def forward(self, x):
                    return self.bn(x * (x[:, :1] > 0))


            model, x = Net(), torch.rand(8, 4)
            """,
        ),
        check_model=_chosen_rows,
    ),
]
