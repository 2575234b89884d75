"""What is seen of a script's first training step, and when enough is seen."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from bnguard import _private_torch as private
from bnguard._facts.models import Mode, SourceLine
from bnguard._models.inputs import map_tensors
from bnguard._preflight.batches import SeenLoader, feeding, tensors_in
from bnguard._preflight.evaluating import trained_by_library
from bnguard._preflight.recipe import CollatedInputs, RecordedInputs
from bnguard._preflight.stop import MOST_REFUSALS, Stop
from bnguard._ranks import rank_and_world_size

Recipe = RecordedInputs | CollatedInputs

MOST_CALLS = 16
"""Different calls of one model that are kept: a discriminator has two or three in a step."""


@dataclass(eq=False)
class SeenCall:
    """One forward of a root model, as the script called it."""

    model: nn.Module
    mode: Mode
    loader: SeenLoader | None
    recipe: Recipe | None


@dataclass
class World:
    """A process among those that train together, as ``torch.distributed`` said during the step."""

    rank: int | None = None
    size: int = 1


class Recorder:
    """Is told of every loader, batch, root forward and optimizer step, and raises ``Stop`` when it has seen enough.

    Training is a forward of a model in training mode with gradients, of a model that has something to train: an
    evaluation before the first step is let run. The stop comes when a loader is asked for a batch after one
    of its batches was trained on, or when a trained model is called for evaluation.

    Args:
        give_up: is called where a script goes on swallowing the stop; must not return.

    Attributes:
        loaders: every DataLoader that was iterated, and from the stop on those that exist by then, in the order in
            which they were made.
        calls: the root forwards, one of each kind.
        modes: the training flag of every module of each model when it was first called in training.
        world: this process among others.
        trained_by_library: whether the training loop is an installed package's.
        stopped: whether the stop has been raised.
        closed: whether it takes no more notice: what runs from now on is the forecast's.
        relayed: whether that was because a process of the script's has stopped.
        on_stop: is called before the stop is first raised, while the script's frames are there.

    """

    def __init__(self, give_up: Callable[[], object] | None = None) -> None:
        self.loaders: list[SeenLoader] = []
        self.calls: list[SeenCall] = []
        self.modes: dict[nn.Module, dict[nn.Module, bool]] = {}
        self.world = World()
        self.trained_by_library = False
        self.stopped = False
        self.relayed = False
        self.on_stop: Callable[[], object] = lambda: None
        self.closed = False
        self._give_up = give_up
        self._ahead = False
        self._thread = 0
        self._refusals = 0
        self._made: WeakKeyDictionary[DataLoader[Any], tuple[int, SourceLine | None]] = WeakKeyDictionary()
        self._batches = 0
        self._steps: Counter[int] = Counter()

    @property
    def trained(self) -> bool:
        """Whether a model was called in training."""
        return bool(self.modes)

    def stop(self) -> None:
        """Raise the stop; each time that the script goes on, again, until there is no use in it."""
        if not self.stopped:
            self.stopped = True
            self.look_for_loaders()
            self.on_stop()
        self._refusals += 1
        if self._refusals > MOST_REFUSALS and self._give_up is not None:
            self._give_up()
        raise Stop

    # ------------------------------------------------------------------------------------ loaders

    def made(self, loader: DataLoader[Any], source: SourceLine | None) -> None:
        """Note a new loader; only one that is iterated is kept alive."""
        if self.closed:
            return
        self._made[loader] = (len(self._made), source)

    def begun(self, loader: DataLoader[Any]) -> None:
        """Note a new pass over a loader, or stop where it is one too many."""
        self.asked(loader)
        if not self.closed:
            self._of(loader).step = 0

    def asked(self, loader: DataLoader[Any]) -> None:
        """Stop where the loader is asked for more than the first training step needs."""
        if self.closed:
            return
        if self.trained and not self.stopped and threading.get_ident() != self._thread:
            self._ahead = True  # a thread that fetches ahead: it must not be the one that is stopped
            return
        if self.stopped or self._of(loader).trained or (self._loader_trained and self._evaluating):
            self.stop()

    def gave(self, loader: DataLoader[Any], batch: object) -> None:
        """Note a batch."""
        if self.closed:
            return
        self._batches += 1
        self._of(loader).remember(batch, self._batches)

    def _of(self, loader: DataLoader[Any]) -> SeenLoader:
        known = next((s for s in self.loaders if s.loader is loader), None)
        if known is None:
            made, source = self._made.get(loader, (-1, None))  # -1: made before we looked, or unpickled
            known = SeenLoader(loader, source, made)
            self.loaders.append(known)
        return known

    def look_for_loaders(self) -> None:
        """Take note of the loaders that the script still holds, though it has not iterated them yet."""
        for loader in list(self._made):
            self._of(loader)
        self.loaders.sort(key=lambda s: s.made)

    @property
    def _loader_trained(self) -> bool:
        return any(s.trained for s in self.loaders)

    @property
    def _evaluating(self) -> bool:
        return not torch.is_grad_enabled() or any(not model.training for model in self.modes)

    # ------------------------------------------------------------------------------------- models

    def calling(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note a forward that is about to begin, of a module that no other module calls."""
        if self.closed or private.in_backward():
            return
        if self.stopped:
            self.stop()
        tensors = list(tensors_in((args, kwargs)))
        if next(model.parameters(), None) is None or not all(map(private.has_values, tensors)):
            return
        mode: Mode = "train" if model.training else "eval"
        loader = feeding(tensors, self.loaders)
        if torch.is_grad_enabled() and model.training and any(p.requires_grad for p in model.parameters()):
            self._training(model, loader)
        self._keep(model, mode, loader, args, kwargs)
        if self._is_evaluation(model, loader):
            self.stop()

    def _training(self, model: nn.Module, loader: SeenLoader | None) -> None:
        if model not in self.modes:
            self.modes[model] = {m: m.training for m in model.modules()}
            self.trained_by_library = self.trained_by_library or trained_by_library(sys._getframe(1))
            self._thread = threading.get_ident()
            self.world = World(*rank_and_world_size())
        if loader is not None:
            loader.trained = True
            self._ahead = self._ahead or loader.thread != self._thread

    def _keep(
        self, model: nn.Module, mode: Mode, loader: SeenLoader | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        recipe: Recipe | None = None
        if loader is not None and any(type(v) is loader.batch_type for v in (*args, *kwargs.values())):
            recipe = CollatedInputs((args, kwargs), loader.batch_type, loader.loader)
        if loader is not None and loader.size is not None:
            held = map_tensors(args, Tensor.detach), map_tensors(kwargs, Tensor.detach)
            recorded = RecordedInputs(held, loader.size)
            recipe = recorded if recorded.follows_batch else recipe
        mine = [c for c in self.calls if c.model is model]
        same = [c for c in mine if c.mode == mode and c.loader is loader]
        if len(mine) < MOST_CALLS and not any(_alike(c.recipe, recipe) for c in same):
            self.calls.append(SeenCall(model, mode, loader, recipe))

    def _is_evaluation(self, model: nn.Module, loader: SeenLoader | None) -> bool:
        """Whether a model that was trained is now called for something else than this step."""
        if not self._loader_trained or model not in self.modes:
            return False
        elsewhere = loader is not None and not loader.trained
        return not model.training or (elsewhere and not torch.is_grad_enabled())

    # --------------------------------------------------------------------------------- optimizers

    def stepped(self, optimizer: Optimizer) -> None:
        """Stop at an optimizer's second step where the batches come from no DataLoader, or from another thread."""
        if self.stopped:
            self.stop()
        self._steps[id(optimizer)] += 1
        unseen = self._ahead or not self._loader_trained
        if self._steps[id(optimizer)] > 1 and self.trained and unseen:
            self.stop()


def _alike(one: Recipe | None, other: Recipe | None) -> bool:
    if one is None or other is None:
        return one is other
    return type(one) is type(other) and one.signature() == other.signature()
