"""Watching the models of a program that nobody has named: each is met when it is first called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from bnguard.model.layers import find_layers
from bnguard.norm_kinds import BATCH
from bnguard.runtime.watch import Watch


@contextmanager
def watching_all_models() -> Iterator[None]:
    """Watch every model that is called within the block; write the summaries to stderr at its end."""
    watches: list[Watch] = []
    known: set[nn.Module] = set()

    def meet(module: nn.Module, args: tuple[object, ...]) -> None:  # noqa: ARG001 - torch's signature
        """Take the first module that is called for the model: its parts are called after it."""
        if module in known:
            return
        known.update(module.modules())
        if any(layer.kind is BATCH for layer in find_layers(module)):
            watch = Watch(module)
            watch.start()
            watch.steps += module.training  # this call has begun: the model's own hook comes too late for it
            watches.append(watch)

    handle = register_module_forward_pre_hook(meet)
    try:
        yield
    finally:
        handle.remove()
        for watch in watches:
            watch.stop()
