"""Giving one module another behaviour without replacing it: its class becomes a subclass of what it was.

Parameters, buffers, hooks, names and the state dict stay as they are, and ``isinstance`` and ``torch.compile`` see the
class that was there. The module is copied and pickled as that class and what was added.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from bnguard._errors import RepairError
from bnguard._models.layers import Layer, norms
from bnguard._ranks import rank_and_world_size
from bnguard.repair._apply import ALREADY, Only, Repair, apply, why_fixed

_Class = Any
"""A class of modules; mypy does not see that one can be hashed."""


class Behaviour:
    """The base of what is added to a class of modules; a subclass overrides ``forward`` or ``train``."""

    label: str
    """What ``print(model)`` shows of it."""

    def extra_repr(self) -> str:
        """Show what was added, so that a printed model does not hide it."""
        shown: str = super().extra_repr()  # type: ignore[misc]
        labels = ", ".join(added.label for added in added_to(type(self)))
        return f"{shown}, {labels}" if shown else labels

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        """Copy and pickle by what can be imported: the class that was there, and the classes added to it."""
        return _new, (base_class(type(self)), added_to(type(self))), self.__dict__.copy()


def add_behaviour(module: nn.Module, added: type[Behaviour]) -> None:
    """Add a behaviour to this one module."""
    kind = type(module)
    if added not in added_to(kind):
        module.__class__ = _combined(base_class(kind), (added, *added_to(kind)))


def remove_behaviour(module: nn.Module, added: type[Behaviour]) -> None:
    """Take a behaviour away again, whichever others were added since."""
    kind = type(module)
    module.__class__ = _combined(base_class(kind), tuple(a for a in added_to(kind) if a is not added))


def why_not(layer: Layer, added: type[Behaviour]) -> str | None:
    """Return why this layer cannot be told to use its running statistics in this way, or None if it can."""
    why = why_fixed(layer)
    if why is None and not layer.track_running_stats:
        return "keeps no running statistics (track_running_stats=False)"
    return ALREADY if why is None and added in added_to(type(layer.module)) else why


def base_class(kind: _Class) -> _Class:
    """Return the class without what was added."""
    base: _Class = getattr(kind, "_bnguard_base", kind)
    return base


def added_to(kind: _Class) -> tuple[type[Behaviour], ...]:
    added: tuple[type[Behaviour], ...] = getattr(kind, "_bnguard_added", ())
    return added


@lru_cache(maxsize=1024)
def _combined(base: _Class, added: tuple[type[Behaviour], ...]) -> _Class:
    if not added:
        return base
    # the name and module of the class that was there: tools that treat torch's own layers as units still do
    space = {"__module__": base.__module__, "__doc__": base.__doc__, "_bnguard_base": base, "_bnguard_added": added}
    return type(base)(base.__name__, (*added, base), space)


def _new(base: _Class, added: tuple[type[Behaviour], ...]) -> Any:  # noqa: ANN401 - a module of such a class
    kind = _combined(base, added)
    return kind.__new__(kind)


# -------------------------------------------------------------------- batchNorm whose running statistics stand still


def freeze(
    model: nn.Module,
    affine: bool = True,
    only: Only = None,
    *,
    inputs: Any = None,  # noqa: ANN401 - see bnguard.scan
    verify: bool = True,
) -> Repair:
    """Let BatchNorm layers use their running statistics in training too, and leave them as they are.

    ``model.eval()`` on a layer is undone by the next ``model.train()``; this is not. The state dict is unchanged.

    Args:
        model: is changed in place.
        affine: freeze weight and bias as well; they then require no gradient.
        only: layers, or modules above them, by dotted name or pattern such as ``backbone``; None for all.
        inputs: what the model takes, as for :func:`bnguard.scan`, for the verification.
        verify: scan the model again at batch size 1, and raise if a chosen layer still fails.

    Returns:
        What was changed; ``undo()`` lets the layers learn again.

    Raises:
        RepairError: no layer keeps running statistics, one still fails, or the model is wrapped in
            DistributedDataParallel, which waits for the gradients that ``affine`` takes away. Nothing is changed then.

    """
    if affine and any(isinstance(m, nn.parallel.DistributedDataParallel) for m in model.modules()):
        raise RepairError(
            "DistributedDataParallel waits for the gradient of every parameter that it was built with",
            hint="freeze the model before it is wrapped, or use freeze(model, affine=False)",
        )
    return apply(
        "freeze",
        model,
        lambda layer, undo: _freeze_layer(model, layer, affine, undo),
        only=only,
        inputs=inputs,
        verify=verify,
    )


def _freeze_layer(model: nn.Module, layer: Layer, affine: bool, undo: ExitStack) -> str | None:
    module = layer.module
    why = why_not(layer, _Frozen)
    if why is not None:
        return why
    follows, mode = module.training == model.training, module.training
    undo.callback(lambda: setattr(module, "training", model.training if follows else mode))
    undo.callback(remove_behaviour, module, _Frozen)
    add_behaviour(module, _Frozen)
    module.training = False
    for parameter in module.parameters(recurse=False) if affine else ():
        undo.callback(parameter.requires_grad_, parameter.requires_grad)
        parameter.requires_grad_(False)
    return None


def is_frozen(module: nn.Module) -> bool:
    """Whether :func:`freeze` keeps this layer in eval mode."""
    return _Frozen in added_to(type(module))


class _Frozen(Behaviour):
    """Added to a BatchNorm class: the layer itself stays in eval mode."""

    label = "frozen"

    def train(self, mode: bool = True) -> Any:  # noqa: ANN401 - the module itself
        """Set the mode of what the layer holds, such as a fused dropout; its own stays."""
        super().train(mode)  # type: ignore[misc]
        self.training = False
        return self


# --------------------------------------------------------------------------------- batchNorm that takes a single sample


def allow_single_sample(
    model: nn.Module,
    *,
    only: Only = None,
    inputs: Any = None,  # noqa: ANN401 - see bnguard.scan
    verify: bool = True,
) -> Repair:
    """Let BatchNorm layers take a training batch that has one value per channel.

    Such a batch is normalised by the running statistics, which it does not move; every other batch is treated as
    before. Gradients flow as in eval mode. Until a first real batch has come the running statistics are 0 and 1.

    The layers keep their class, parameters and state dict; ``torch.compile``, DistributedDataParallel and half
    precision work as before. SyncBatchNorm that counts several ranks is left to PyTorch. TorchScript does not read the
    added code: take it back with ``undo()`` before scripting; an eval-mode model needs it no more.

    Args:
        model: is changed in place.
        only: layers, or modules above them, by dotted name or pattern; None for all.
        inputs: what the model takes, as for :func:`bnguard.scan`, for the verification.
        verify: scan the model again at batch size 1, and raise if a chosen layer still fails.

    Returns:
        What was changed; ``undo()`` takes it back.

    Raises:
        RepairError: no layer keeps running statistics, or one still fails. The model is then as it was.

    """
    return apply("allow_single_sample", model, _allow_in_layer, only=only, inputs=inputs, verify=verify)


def _allow_in_layer(layer: Layer, undo: ExitStack) -> str | None:
    module = layer.module
    why = why_not(layer, _SingleSample)
    if why is None and norms().is_synchronised(module) and not isinstance(module, nn.SyncBatchNorm):
        why = f"({layer.type}) takes its statistics over all ranks, which would wait for the one with the lone sample"
    if why is None:
        undo.callback(remove_behaviour, module, _SingleSample)
        add_behaviour(module, _SingleSample)
    return why


class _SingleSample(Behaviour):
    """Added to a BatchNorm class: one value per channel is normalised as in eval mode."""

    label = "single_sample=running"
    training: bool

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - what the class below returns
        """Run the class's own forward, in eval mode for a batch that has no variance."""
        # one value per channel, as torch.nn.functional counts before it raises
        is_single = x.dim() > 1 and x.numel() == x.size(1)
        if not self.training or not is_single or _counts_other_ranks(self):
            return super().forward(x, *args, **kwargs)  # type: ignore[misc]
        self.training = False  # of this module alone: a fused dropout goes on training
        try:
            return super().forward(x, *args, **kwargs)  # type: ignore[misc]
        finally:
            self.training = True


def _counts_other_ranks(module: Any) -> bool:  # noqa: ANN401 - a BatchNorm
    """Whether the layer takes its statistics over several ranks; then all of them must take part."""
    return isinstance(module, nn.SyncBatchNorm) and rank_and_world_size(module.process_group)[1] > 1
