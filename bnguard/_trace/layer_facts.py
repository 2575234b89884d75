"""From traces to facts: each layer's calls, verdict and smallest working batch size."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bnguard import _private_torch as private
from bnguard._facts.models import THIN_VALUES, LayerFact, NormCall, SourceLine, StatisticsFact, Verdict
from bnguard._facts.norm_kinds import NormKind
from bnguard._models.layers import Layer
from bnguard._trace.record import RecordedCall
from bnguard._trace.run_forward import Trace


def layer_facts(
    trace: Trace,
    sources: Mapping[str, SourceLine | None],
    statistics: Mapping[str, StatisticsFact | None],
) -> tuple[LayerFact, ...]:
    """Return a fact for every layer of the traced model, then for every functional call outside one.

    Args:
        trace: one forward.
        sources: creation lines by layer name.
        statistics: contents of the running statistics by layer name.

    """
    by_owner: dict[int, list[tuple[int, RecordedCall]]] = defaultdict(list)
    for order, recorded in enumerate(trace.calls):
        by_owner[id(recorded.owner) if recorded.owner is not None else -1].append((order, recorded))
    facts = [
        _fact(layer, by_owner.pop(id(layer.module), []), trace, sources, statistics) for layer in trace.prepared.layers
    ]
    facts += [_functional(calls, trace.prepared.names) for calls in by_owner.values()]
    return tuple(facts)


_GRAVEST: tuple[Verdict, ...] = (
    "unknown", "data-dependent", "fails", "single-sample", "thin", "ok", "frozen", "not-reached"
)  # fmt: skip
"""Of several forwards with other random numbers the gravest verdict counts."""


def of_all_draws(facts: tuple[LayerFact, ...], draws: Sequence[tuple[LayerFact, ...]]) -> tuple[LayerFact, ...]:
    """Return what forwards with other random numbers say together: where they differ on a failure, it is not known."""
    if not draws:
        return facts
    by_key: dict[tuple[str, str], list[LayerFact]] = defaultdict(list)
    for fact in (f for each in (facts, *draws) for f in each):
        by_key[fact.name, fact.type].append(fact)
    return tuple(_of_draws(each, len(draws) + 1) for each in by_key.values())


def _of_draws(facts: Sequence[LayerFact], draws: int) -> LayerFact:
    gravest = min(facts, key=lambda f: _GRAVEST.index(f.verdict))
    failing = sum(f.verdict == "fails" for f in facts)
    if gravest.verdict != "fails" or failing == draws:
        return gravest
    reason = f"the forward draws random numbers: it fails in {failing} of {draws} draws, and not in the others"
    return replace(gravest, verdict="unknown", reason=reason)


def first_failure(facts: Iterable[LayerFact]) -> str | None:
    """Return the layer whose failing call comes first in execution order."""
    failing = [(f.order, f.name) for f in facts if f.verdict == "fails" and f.order is not None]
    return min(failing)[1] if failing else None


def smallest_batches(facts: Sequence[LayerFact], others: Mapping[int, Sequence[LayerFact]]) -> tuple[LayerFact, ...]:
    """Set ``min_batch_size`` of every layer from traces at several batch sizes.

    Args:
        facts: of the batch size in use.
        others: facts by batch size, the one in use included.

    """
    verdicts: dict[str, dict[int, Verdict]] = defaultdict(dict)
    for size, layers in others.items():
        for layer in layers:
            verdicts[layer.name][size] = layer.verdict

    def smallest(name: str) -> int | None:
        sizes = sorted(s for s, v in verdicts[name].items() if v not in ("unknown", "not-reached"))
        # a size counts only if every size between it and 1 was tried, and it is the first that holds
        return next((s for s in sizes if verdicts[name][s] != "fails"), None) if sizes[:1] == [1] else None

    return tuple(replace(f, min_batch_size=smallest(f.name)) for f in facts)


def _fact(
    layer: Layer,
    calls: list[tuple[int, RecordedCall]],
    trace: Trace,
    sources: Mapping[str, SourceLine | None],
    statistics: Mapping[str, StatisticsFact | None],
) -> LayerFact:
    real = [(order, r) for order, r in calls if not r.entered]
    judge = _judge_measured if calls and not real else _judge_recorded
    norm_calls, verdict, reason = judge(layer, [r for _, r in calls], trace)
    features = layer.num_features or next((r.features for _, r in calls), None)
    return LayerFact(
        name=layer.name,
        aliases=layer.names[1:],
        type=layer.type,
        kind=layer.kind.name,
        num_features=features,
        training=layer.module.training,
        affine=layer.affine,
        affine_trains=layer.affine_trains,
        track_running_stats=layer.track_running_stats,
        momentum=layer.momentum,
        eps=layer.eps,
        num_groups=layer.options.get("num_groups"),
        verdict=verdict,
        source=sources.get(layer.name),
        calls=norm_calls,
        order=_order(real or calls),
        statistics=statistics.get(layer.name),
        reason=reason,
    )


_Judged = tuple[tuple[NormCall, ...], Verdict, str | None]
"""The calls of a layer, what they come to, and why it is not known what they do."""


def _judge_recorded(layer: Layer, calls: Sequence[RecordedCall], trace: Trace) -> _Judged:
    """Judge a layer by the calls that it was seen to make; what it merely was given says no more then."""
    made = tuple(r.call for r in calls if not r.entered)
    verdict = _verdict(layer.kind, made, ended=trace.error is None)
    if _is_data_dependent(layer.kind, calls) and _refuses_one_value(layer.module, made[0].shape):
        return made, "data-dependent", _CHOSEN
    if verdict != "unknown":
        return made, verdict, None
    return made, verdict, "it got no values from this input" if made else _reason(trace)


def _is_data_dependent(kind: NormKind, calls: Iterable[RecordedCall]) -> bool:
    return kind.crosses_samples and any(r.data_dependent and r.call.batch_statistics for r in calls)


def _refuses_one_value(layer: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a copy of the layer, in its present mode, raises where the data leave one value per channel."""
    try:
        with torch.no_grad():
            _real_copy(layer)(torch.randn((1, *shape[1:2], *(1 for _ in shape[2:]))))
    except Exception:  # noqa: BLE001 - the very thing to find out
        return True
    return False


_CHOSEN = "the data choose how many values it gets"


def _judge_measured(layer: Layer, calls: Sequence[RecordedCall], trace: Trace) -> _Judged:
    """Judge a layer whose code is the user's own and called none of the functions that are known."""
    probed = behaviour(layer.module, calls[0].call.shape)
    if probed is None and trace.failed_in is layer.module:
        return (), "unknown", _reason(trace)
    made = tuple(_probed_call(layer, r.call.shape, probed) for r in calls)
    if probed is None:
        return made, "unknown", "the layer cannot be run on its own, so what it does is not known"
    return made, _verdict(layer.kind, made, ended=True), None


def _functional(calls: list[tuple[int, RecordedCall]], names: Mapping[int, str]) -> LayerFact:
    first = calls[0][1]
    norm_calls = tuple(r.call for _, r in calls)
    chosen = _is_data_dependent(first.kind, (r for _, r in calls))
    return LayerFact(
        name="" if first.owner is None else names.get(id(first.owner), ""),
        type="functional",
        kind=first.kind.name,
        num_features=first.features,
        training=first.owner.training if first.owner is not None else first.call.batch_statistics,
        affine=first.affine,
        track_running_stats=first.tracks,
        momentum=first.momentum,
        eps=first.eps,
        num_groups=first.num_groups,
        verdict="data-dependent" if chosen else _verdict(first.kind, norm_calls, ended=True),
        calls=norm_calls,
        order=_order(calls),
        reason=_CHOSEN if chosen else None,
    )


def _order(calls: list[tuple[int, RecordedCall]]) -> int | None:
    """Where the layer stands in execution: at its first failing call if it has one, since that is where it stops."""
    failing = [order for order, r in calls if r.call.stops]
    return min(failing or [order for order, _ in calls], default=None)


def _verdict(kind: NormKind, calls: Sequence[NormCall], *, ended: bool) -> Verdict:
    if not calls:
        return "not-reached" if ended else "unknown"
    if any(c.stops for c in calls):
        return "fails"
    own = [c for c in calls if c.batch_statistics]
    if not own:
        return "frozen"
    fewest = min(c.values_per_statistic for c in own)
    if fewest == 0:  # the forward chose no row of this input: what happens to one row is not known
        return "unknown"
    if kind.crosses_samples and any(c.shape[0] == 1 for c in own):
        return "single-sample"
    return "thin" if fewest < (THIN_VALUES if kind.crosses_samples else 2) else "ok"


def _probed_call(layer: Layer, shape: tuple[int, ...], probed: Behaviour | None) -> NormCall:
    call = NormCall(
        shape,
        1,
        batch_statistics=probed is not None and probed.batch_statistics,
        raises=probed is not None and probed.raises,
        error=None if probed is None or probed.error is None else probed.error.partition(":")[0],
    )
    fits = layer.kind.features(shape, layer.options) is not None
    values = layer.kind.values(shape, layer.options) if fits else call.values_per_channel
    return replace(call, values_per_statistic=values)


def _reason(trace: Trace) -> str:
    return f"the forward stopped before it: {trace.error_line}" if trace.error is not None else "no input was found"


# --------------------------------------------------------------------------- what a hand-written normaliser really does


@dataclass(frozen=True)
class Behaviour:
    """Measured on a small copy of the layer.

    Attributes:
        batch_statistics: whether one sample's output depends on the others.
        raises: whether it raises at the shape that the forward gave it.
        error: the message, or None.

    """

    batch_statistics: bool
    raises: bool
    error: str | None = None


def behaviour(layer: nn.Module, shape: tuple[int, ...]) -> Behaviour | None:
    """Run a copy of the layer in its present mode; None where it cannot be run on its own.

    Args:
        layer: stays as it is; its parameters may be on the meta device (ones take their place).
        shape: of the input that the model's forward gave it, batch first.

    """
    if len(shape) < 2:
        return None
    small = (shape[0], shape[1], *(min(s, 4) for s in shape[2:]))
    try:
        with torch.no_grad():
            pair = torch.randn((2, *small[1:]))
            other = pair.clone()
            other[1] += 3.0
            first, second = (_real_copy(layer)(x) for x in (pair, other))
            depends = not torch.allclose(first[0], second[0], equal_nan=True)
    except Exception:  # noqa: BLE001 - a user's layer may raise anything when run outside its model
        return None
    try:
        with torch.no_grad():
            _real_copy(layer)(torch.randn(small))
    except Exception as error:  # noqa: BLE001 - the very thing to find out
        return Behaviour(depends, True, f"{type(error).__name__}: {error}".splitlines()[0])
    return Behaviour(depends, False)


def _real_copy(layer: nn.Module) -> nn.Module:
    memo: dict[int, object] = {}
    for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
        memo[id(tensor)] = _values(name, tensor)
    for module in layer.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                memo[id(value)] = _values(name, value)
    return copy.deepcopy(layer, memo)


def _values(name: str, tensor: Tensor) -> Tensor:
    if private.has_values(tensor):
        return (
            tensor.detach().clone().cpu()
            if not isinstance(tensor, nn.Parameter)
            else nn.Parameter(tensor.detach().clone().cpu(), tensor.requires_grad)
        )
    fresh = torch.ones if "var" in name or "std" in name or "weight" in name or "gamma" in name else torch.zeros
    value = fresh(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value


# ----------------------------------------------------------------------------------- what running statistics hold


COLLAPSED = 1e-8
"""A variance below this is none: a live channel of any trained network is orders of magnitude above."""


def statistics_fact(mean: Tensor, var: Tensor, tracked: Tensor | None) -> StatisticsFact | None:
    """Summarise running mean and variance (any shape, one value a channel); None without values."""
    if mean.is_meta or var.is_meta or mean.numel() == 0:
        return None
    with torch.no_grad():
        finite = (
            torch.isfinite(mean.float()) & torch.isfinite(var.float())
            if mean.shape == var.shape
            else (torch.isfinite(var.float()))
        )
        counted = tracked is not None and not tracked.is_meta and int(tracked) > 0
        fresh = bool((mean == 0).all()) and bool((var == 1).all())
        return StatisticsFact(
            nonfinite=int((~finite | (var.float() < 0)).sum()),
            never_updated=fresh and not counted,
            collapsed=float((var.float().abs() < COLLAPSED).float().mean()),
        )
