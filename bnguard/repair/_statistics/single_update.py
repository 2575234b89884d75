"""Running statistics that move once a step, though activation checkpointing runs a forward twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bnguard import _private_torch as private
from bnguard._errors import RepairError
from bnguard._models.layers import Layer, running_statistics
from bnguard._trace.copies import copy_for_trace, without_ranks
from bnguard._untouched import untouched_process
from bnguard._usercode import one_line
from bnguard.repair._apply import Only, Repair, apply, label
from bnguard.repair._retype import Behaviour, add_behaviour, base_class, remove_behaviour, why_not

_ROWS = 4
_MARK = "running statistics move once a step"


def single_update(model: nn.Module, *, only: Only = None, verify: bool = True) -> Repair:
    """Let the running statistics move once a step although activation checkpointing repeats a forward.

    ``torch.utils.checkpoint`` runs what it holds a second time within the backward, reentrant or not, and BatchNorm
    moves its running statistics both times: by 0.19 of the way instead of 0.1. With this fix a layer that runs within a
    backward normalises as it did and moves nothing. Outputs and gradients are the same; the statistics are those of the
    model without checkpointing. Any training forward within a backward counts as a repetition, such as those of
    reversible networks.

    The layers keep their class, parameters and state dict; copies and pickles keep the fix. Where ``torch.compile``
    compiles the checkpointing along with the layers, nothing moves twice and nothing is changed. A compiled module that
    is called under checkpointing from outside goes on moving them twice, as ``Repair.notes`` say.

    Args:
        model: is changed in place, before or after DistributedDataParallel wraps it.
        only: layers, or modules above them, by dotted name or pattern; None for all.
        verify: run a copy of each layer under both kinds of checkpointing, and raise if its statistics differ from
            those of the layer without.

    Returns:
        What was changed; ``undo()`` takes it back.

    Raises:
        RepairError: no layer keeps running statistics, or the statistics of one still move twice. The model is then as
            it was.

    """
    tried: dict[str, str | None] = {}

    def change(layer: Layer, undo: ExitStack) -> str | None:
        why = why_not(layer, SingleUpdate)
        if why is None:
            undo.callback(remove_behaviour, layer.module, SingleUpdate)
            add_behaviour(layer.module, SingleUpdate)
            if verify:
                tried[layer.name] = _why_unproven(layer)
        return why

    done = apply("single_update", model, change, only=only, inputs=None, verify=False)
    if not verify or not done.changed:
        return done
    notes = [f"not verified: a copy of {label(name)} gave {why}" for name, why in tried.items() if why]
    verified = None if notes else True
    if any(private.compiled_original(m) is not None for m in model.modules()):
        notes.append("code that is compiled without its checkpointing still moves them twice: compile both or neither")
    return replace(done, verified=verified, notes=tuple(notes), proof="under checkpointing")


class SingleUpdate(Behaviour):
    """Added to a BatchNorm class: what runs within a backward moves no statistics."""

    label = _MARK
    training: bool

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - what the class below takes and returns
        """Run the class's own forward; in a repetition on copies of the buffers."""
        if torch.compiler.is_compiling() or not (self.training and private.in_backward()):
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        with _buffers_kept(self):  # type: ignore[arg-type]
            return super().forward(*args, **kwargs)  # type: ignore[misc]


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Let copies stand for the module's own buffers.

    None in their place, or the old values written back, would not do: checkpointing wants as many saved tensors as the
    first time, and autograd notices a tensor that was written to.
    """
    own = list(module.named_buffers(recurse=False))
    try:
        for name, buffer in own:
            private.replace_tensor(module, name, buffer.clone())
        yield
    finally:
        for name, buffer in own:
            private.replace_tensor(module, name, buffer)


# ----------------------------------------------------------------------------------------------- the proof


def _why_unproven(layer: Layer) -> str | None:
    """Run the layer under checkpointing as it is now and without as it was; return why it could not be run, or None.

    Raises:
        RepairError: the statistics differ.

    """
    try:
        with untouched_process():
            torch.set_grad_enabled(True)
            equal = all(_statistics(layer, reentrant) == _statistics(layer, None) for reentrant in (True, False))
    except Exception as error:  # noqa: BLE001 - a forward of the user's may raise anything on a tensor of our making
        return one_line(error)
    if not equal:
        raise RepairError(
            f"the statistics of {label(layer.name)} ({layer.type}) still move twice under checkpointing; "
            "nothing was changed"
        )
    return None


def _statistics(layer: Layer, reentrant: bool | None) -> list[list[float]]:
    """Return the statistics of a copy after a step, with this kind of checkpointing or, as the class was, with none."""
    module: Any = copy_for_trace(layer.module, "own").train()
    for hooks in private.hooks_of(module):
        hooks.clear()
    without_ranks([module])
    if reentrant is None:
        module.__class__ = base_class(type(module))
    x = _input(module)
    out = module(x) if reentrant is None else checkpoint(module, x, use_reentrant=reentrant)
    out.sum().backward()
    kept = running_statistics(module)
    assert kept is not None
    return [t.tolist() for t in kept]


def _input(module: nn.Module) -> Tensor:
    """Return numbers of a shape that the layer takes; only that is tried, on another copy."""
    pair = running_statistics(module)
    assert pair is not None
    channels, kept = pair[0].numel(), pair[0]
    refused: Exception | None = None
    for space in ((2, 2), (), (2,), (2, 2, 2)):
        x = torch.linspace(-1, 2, _ROWS * channels * 2 ** len(space), device=kept.device, dtype=kept.dtype)
        x = x.reshape(_ROWS, channels, *space).requires_grad_()
        try:
            copy_for_trace(module, "own").eval()(x)
        except Exception as error:  # noqa: BLE001 - another shape may do
            refused = refused or error
        else:
            return x
    raise refused or RuntimeError("no input")
