"""Counting single-sample batches that pass BatchNorm in training mode without a word (RT105)."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bnguard.errors import UsageError
from bnguard.facts import SourceLine
from bnguard.findings import Finding
from bnguard.model.assigned import assignment_line
from bnguard.model.layers import find_layers
from bnguard.norm_kinds import BATCH
from bnguard.rules.runtime import silent_single_sample


@dataclass
class Passed:
    """How often single-sample batches passed one layer, and in which step first (steps count from 1)."""

    name: str
    source: SourceLine | None
    first_step: int
    times: int = 0


class Watch:
    """Hooks on the batch normalisation layers of a model, for as long as a guard is open.

    A step is one forward of the model in training mode. Layers that run inside ``torch.compile`` are not seen.
    """

    def __init__(self, model: nn.Module | None) -> None:
        if model is None:
            raise UsageError("watch=True needs the model", hint="write bnguard.guard(model, watch=True)")
        self._model = model
        self._handles: list[RemovableHandle] = []
        self._names = {x.module: x.name for x in find_layers(model) if x.kind is BATCH}
        self.steps = 0
        self.passed: dict[str, Passed] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One RT105 for each layer that saw a single-sample batch."""
        return tuple(silent_single_sample(p.name, p.source, p.first_step, p.times) for p in self.passed.values())

    def start(self) -> None:
        """Put the hooks on."""
        self._handles.append(self._model.register_forward_pre_hook(self._count_step))
        self._handles += [layer.register_forward_pre_hook(self._look) for layer in self._names]

    def stop(self) -> None:
        """Take the hooks off and write the summary to stderr, where there is one."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self.passed:
            sys.stderr.write(self.summary() + "\n")

    def summary(self) -> str:
        """Return what passed, in one line."""
        first = min(self.passed.values(), key=lambda p: p.first_step)
        most = max(p.times for p in self.passed.values())
        count = len(self.passed)
        return (
            f"bnguard: RT105 {most} single-sample {'batch' if most == 1 else 'batches'} in training mode passed "
            f"{count} BatchNorm {'layer' if count == 1 else 'layers'}, first in step {first.first_step} "
            f"of {self.steps} ({first.name or 'the model itself'})"
        )

    def _count_step(self, module: nn.Module, args: tuple[object, ...]) -> None:  # noqa: ARG002 - torch's signature
        if module.training and not torch.compiler.is_compiling():
            self.steps += 1

    def _look(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Look at the batch size alone: this runs for every layer in every step.

        Within torch.compile it must come to nothing, lest counting become a part of the graph.
        """
        if args and args[0].shape[0] == 1 and not torch.compiler.is_compiling():
            self._note(module, args[0])

    def _note(self, layer: nn.Module, given: Tensor) -> None:
        if not layer.training or given.dim() < 2 or given.numel() == given.shape[1]:  # frozen, or PyTorch will raise
            return
        name = self._names[layer]
        if name not in self.passed:
            self.passed[name] = Passed(name, assignment_line(self._model, name), max(self.steps, 1))
        self.passed[name].times += 1
