"""The one way in which a fix changes a model: choose layers, change each, verify; on any error take all of it back."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from bnguard import _private_torch as private
from bnguard._errors import BnguardError, RepairError, TargetError, UsageError, did_you_mean
from bnguard._facts.models import LayerFact, ModelFact
from bnguard._facts.norm_kinds import BATCH
from bnguard._models.layers import Layer, find_layers
from bnguard._models.wrappers import module_named
from bnguard._remedies import KEEP_BATCH_DIMENSION, MERGE_TAIL
from bnguard._scan.scanner import scan

ALREADY = "has this fix already"

Change = Callable[[Layer, ExitStack], "str | None"]
"""Changes one layer, adds what takes that back to the stack, and returns None; or changes nothing and returns why."""


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
    with ExitStack() as undo:
        reasons = {layer: change(layer, undo) for layer in layers}
        changed = [layer for layer, why in reasons.items() if why is None]
        skipped = {layer.name: why for layer, why in reasons.items() if why is not None}
        if not changed and (hopeless := next((x for x, why in skipped.items() if why != ALREADY), None)) is not None:
            raise RepairError(f"{name} changed nothing: {label(hopeless)} {skipped[hopeless]}")
        known: bool | None = None
        notes: tuple[str, ...] = ("not verified, as verify=False asks",)
        if verify:
            chosen = None if only is None else {n for layer in layers for n in layer.names}
            known, notes = _verify(name, model, inputs, skipped, chosen)
        return Repair(name, model, tuple(x.name for x in changed), {}, skipped, notes, known, undo.pop_all())


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


def _verify(
    name: str,
    model: nn.Module,
    inputs: Any,  # noqa: ANN401 - see bnguard.scan
    skipped: dict[str, str],
    chosen: set[str] | None,
) -> tuple[bool | None, tuple[str, ...]]:
    """Scan at batch size 1; return whether the chosen layers (None: all) are known to pass, and notes."""
    fact = traced(model, inputs)
    targeted = [x for x in fact.layers if chosen is None or {x.name, *x.aliases} & chosen]
    failing = [x for x in targeted if x.verdict == "fails" and x.norm.grows_with_batch]
    if failing:
        raise _still_fails(name, min(failing, key=lambda x: x.order or 0), skipped)
    others = [x for x in fact.layers if x.verdict == "fails"]
    notes = (f"{label(others[0].name)} ({others[0].type}) still fails at batch size 1",) if others else ()
    if fact.method == "none" or any(x.verdict == "unknown" for x in targeted):
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


# ---------------------------------------------------------------------------------------- which layers a fix is for


Only = str | Sequence[str] | Callable[[str], bool] | None
"""Dotted names of layers or of modules above them, patterns such as ``layer4.*``, or a function of the name."""


def batch_norm_layers(model: nn.Module, only: Only = None) -> list[Layer]:
    """Return the chosen BatchNorm layers in ``named_modules`` order, each instance once.

    A model without any gets a warning and an empty list.

    Args:
        model: stays as it is.
        only: a name stands for that module and all below it; None for the whole model.

    Raises:
        TargetError: this is no ``nn.Module``.
        UsageError: ``only`` matches no BatchNorm layer, though there are some.

    """
    if not isinstance(model, nn.Module):
        raise TargetError(f"a {type(model).__name__} is no model", hint="give an nn.Module")
    layers = [x for x in find_layers(model) if x.kind is BATCH]
    if not layers:
        text = f"{type(model).__name__} has no BatchNorm layer: nothing was changed"
        warnings.warn(text, stacklevel=4)
        return []
    return layers if only is None else _matching(layers, only)


def _matching(layers: list[Layer], only: Only) -> list[Layer]:
    if callable(only):
        chosen = [x for x in layers if any(map(only, x.names))]
        if not chosen:
            raise UsageError("only() chose no BatchNorm layer", hint=f"the first is called {layers[0].name!r}")
        return chosen
    names = [name for x in layers for name in x.names]
    patterns = [_without_wrappers(p, names) for p in ([only] if isinstance(only, str) else list(only or ()))]
    if not patterns:
        raise UsageError("only names no layer", hint="leave it out to change all BatchNorm layers")
    for pattern in patterns:
        if not any(_fits(name, pattern) for name in names):
            hint = did_you_mean(pattern, names) or f"the first is called {layers[0].name!r}"
            raise UsageError(f"only={pattern!r} matches no BatchNorm layer", hint=hint)
    return [x for x in layers if any(_fits(name, pattern) for name in x.names for pattern in patterns)]


def _without_wrappers(pattern: str, names: Sequence[str]) -> str:
    """Return the pattern; where it matches nothing, without the names of DataParallel's and torch.compile's parts."""
    if any(_fits(name, pattern) for name in names):
        return pattern
    return re.sub(rf"\b(module|{private.COMPILED})\.", "", pattern)


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)


# ------------------------------------------------------------------------------------- what a fix did to a model


@dataclass(frozen=True)
class Repair:
    """What was done to a model.

    Attributes:
        name: of the fix, such as ``freeze``.
        model: the model with the fix: the very object that was given.
        changed: dotted names of the layers that were changed, in ``named_modules`` order.
        replaced: of a fix that puts other modules in their place: what stood there, by dotted name.
        skipped: dotted names of layers left as they are, and why.
        notes: what the reader should know.
        verified: True where a scan at batch size 1 found the failure gone; None where the forward could not be
            followed, or nobody asked: the notes say which. ``proof`` tells of another way to prove it.
        proof: where it was verified: what follows that word.

    """

    name: str
    model: nn.Module
    changed: tuple[str, ...] = ()
    replaced: Mapping[str, nn.Module] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    verified: bool | None = None
    _undo: ExitStack = field(default_factory=ExitStack, repr=False)
    proof: str = "at batch size 1"

    def undo(self) -> None:
        """Take the fix back; what training did meanwhile to the parameters stays. A second time does nothing."""
        self._undo.close()

    def __str__(self) -> str:
        count = len(self.changed)
        known = f"; verified {self.proof}" if self.verified else "; not verified"
        lines = [f"{self.name}: {count} layer{'s' * (count != 1)} changed{known if count else ''}"]
        return "\n".join([*lines, *self._remarks()])

    def _remarks(self) -> list[str]:
        left = [f"  left as it is: {name or '(the model itself)'}: {why}" for name, why in self.skipped.items()]
        return [*left, *(f"  note: {note}" for note in self.notes)]


# ------------------------------------------------------------- putting other layers in the place of BatchNorm layers


def replace_layers(
    name: str,
    model: nn.Module,
    make: Callable[[Layer], nn.Module | str],
    *,
    only: Only,
    inputs: Any,  # noqa: ANN401 - see bnguard.scan
    verify: bool,
) -> Repair:
    """Replace the chosen BatchNorm layers by what ``make`` gives, which is a layer or why there is none.

    Raises:
        RepairError: as :func:`apply`; or the model is itself the layer.

    """
    replaced: dict[str, nn.Module] = {}

    def change(layer: Layer, undo: ExitStack) -> str | None:
        new = make(layer)
        if isinstance(new, str):
            return new
        put(model, layer, new, undo)
        replaced.update(dict.fromkeys(layer.names, layer.module))
        return None

    done = apply(name, model, change, only=only, inputs=inputs, verify=verify)
    return replace(done, replaced=replaced)


def put(model: nn.Module, layer: Layer, new: nn.Module, undo: ExitStack) -> None:
    """Put ``new`` where the layer stands, under all its names."""
    for path in layer.names:
        above, _, leaf = path.rpartition(".")
        if not leaf:
            raise RepairError(
                f"the model is itself a {layer.type}, and nothing holds it", hint="give the model that it is part of"
            )
        parent = module_named(model, above)
        undo.callback(setattr, parent, leaf, layer.module)
        setattr(parent, leaf, new)
