"""The one way in which a fix changes a model: choose layers, change each, verify; on any error take all of it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from bnguard.errors import BnguardError, RepairError
from bnguard.facts import LayerFact, ModelFact
from bnguard.model import private, scan
from bnguard.model.layers import Layer
from bnguard.remedies import KEEP_BATCH_DIMENSION, MERGE_TAIL
from bnguard.repair.choose import Only, batch_norm_layers
from bnguard.repair.outcome import Repair, Steps

ALREADY = "has this fix already"

Change = Callable[[Layer, Steps], str | None]
"""Changes one layer, notes how to take that back, and returns None; or changes nothing and returns why."""


def apply(
    name: str,
    model: nn.Module,
    change: Change,
    *,
    only: Only,
    inputs: Any,  # noqa: ANN401 - see bnguard.scan
    verify: bool,
) -> Repair:
    """Change the chosen BatchNorm layers of a model, and scan it again at batch size 1.

    Raises:
        RepairError: no layer can take this fix, or a chosen layer still fails. The model is then as it was.

    """
    layers = batch_norm_layers(model, only)
    if not layers:
        return Repair(name, model, notes=("no BatchNorm layer",))
    with Steps() as steps:
        reasons = {layer: change(layer, steps) for layer in layers}
        changed = [layer for layer, why in reasons.items() if why is None]
        skipped = {layer.name: why for layer, why in reasons.items() if why is not None}
        if not changed and (hopeless := next((x for x, why in skipped.items() if why != ALREADY), None)) is not None:
            raise RepairError(f"{name} changed nothing: {label(hopeless)} {skipped[hopeless]}")
        known: bool | None = None
        notes: tuple[str, ...] = ("not verified, as verify=False asks",)
        if verify:
            chosen = None if only is None else {n for layer in layers for n in layer.names}
            known, notes = verify_model(name, model, inputs, skipped, chosen)
    return Repair(name, model, tuple(x.name for x in changed), {}, skipped, notes, known, steps)


def why_fixed(layer: Layer) -> str | None:
    """Return why nobody can change this layer as it is now, or None."""
    module = layer.module
    if isinstance(module, private.script_module_type()):
        return "is a TorchScript module, whose code is fixed: repair the model before it is scripted"
    if any(map(private.is_lazy, (*module.parameters(recurse=False), *module.buffers(recurse=False)))):
        return "has no shape yet: run one forward first"
    return None


def label(name: str) -> str:
    """Return a layer's dotted name, or a word for the root."""
    return name or "the model itself"


def verify_model(
    name: str,
    model: nn.Module,
    inputs: Any,  # noqa: ANN401 - see bnguard.scan
    skipped: dict[str, str],
    chosen: set[str] | None,
) -> tuple[bool | None, tuple[str, ...]]:
    """Scan at batch size 1 in training mode; return whether the cure is known to hold, and notes.

    Args:
        name: of the fix.
        model: with the fix; it is scanned on a copy.
        inputs: as ``bnguard.scan`` takes them.
        skipped: names of layers that the fix left as they are, and why.
        chosen: names of the layers that the fix was for, None for all.

    Raises:
        RepairError: one of them still fails.

    """
    fact = traced(model, inputs)
    mine = [x for x in fact.layers if chosen is None or {x.name, *x.aliases} & chosen]
    failing = sorted((x for x in mine if x.verdict == "fails"), key=lambda x: x.order or 0)
    cured = [x for x in failing if x.norm.grows_with_batch]
    if cured:
        raise _still_fails(name, cured[0], skipped)
    others = [x for x in fact.layers if x.verdict == "fails"]
    notes = (f"{label(others[0].name)} ({others[0].type}) still fails at batch size 1",) if others else ()
    if fact.method == "none" or any(x.verdict == "unknown" for x in mine):
        why = fact.trace_error or "no input was found that the model takes"
        return None, (*notes, f"not verified: {why}; give inputs that it takes, such as inputs=(3, 224, 224)")
    return True, notes


def traced(model: nn.Module, inputs: Any) -> ModelFact:  # noqa: ANN401 - see bnguard.scan
    """Return what one sample in training mode does to each normalisation layer."""
    return scan(model, inputs, batch_size=1, mode="train").models[0]


def lost_dimension(who: str, reason: str) -> RepairError:
    """Return the error for a layer that one sample reaches without its batch dimension: no fix of the layer helps."""
    return RepairError(
        f"{who} still fails at batch size 1: the batch dimension is lost on the way ({reason}); nothing was changed",
        hint=KEEP_BATCH_DIMENSION.does,
    )


def _still_fails(name: str, layer: LayerFact, skipped: dict[str, str]) -> BnguardError:
    if layer.reason and not layer.calls:
        return lost_dimension(f"after {name}, {label(layer.name)} ({layer.type})", layer.reason)
    why = skipped.get(layer.name) or layer.reason
    if why is None:
        why = "its call is made outside a BatchNorm layer" if layer.type == "functional" else "one value per channel"
    return RepairError(
        f"after {name}, {label(layer.name)} ({layer.type}) still fails at batch size 1: {why}; nothing was changed",
        hint=MERGE_TAIL.for_case("keep the batches larger instead", price="").text,
    )
