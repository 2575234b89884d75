"""``bnguard.scan`` against real calls of random networks: no wrong first layer.

    python benchmarks/random_networks.py --n 2000
    python benchmarks/random_networks.py --seed 17      # one network, with all that was found

Each network comes of its seed: convolutions and linear layers with every kind of normalisation, and what real models do
around them (hooks, cached activations, weight_norm, checkpointing, masks, branches on the grad mode, shared layers,
``squeeze``, functional calls, errors that the model catches, random layer drop). It is scanned at batch sizes 1, 2
and 3 in both modes, and then an equal copy is really called, with a backward in training.
"""

from __future__ import annotations

import copy
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from seeds import seeds_asked
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bnguard
from bnguard._facts.models import ModelFact
from bnguard._models.layers import find_layers

SIZES, MODES = (1, 2, 3), ("train", "eval")


class Op(nn.Module):
    """One step of a network; ``act`` makes the next value of this one."""

    def __init__(self, act: Callable[[Op, Tensor], Tensor], **parts: object) -> None:
        super().__init__()
        self.act = act
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        """Act."""
        return self.act(self, x)


class Network(nn.Module):
    """Steps in a row; a second input, where there is one, is added to the vector at the end."""

    def __init__(self, steps: list[nn.Module], second: nn.Module | None) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.second = second

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Go through all steps."""
        for step in self.steps:
            x = step(x)
        if self.second is not None and other is not None:
            x = x.flatten(1).mean(1, keepdim=True) + self.second(other)
        return x


class StaysFrozen(nn.BatchNorm2d):
    """In eval mode whatever is called."""

    def train(self, mode: bool = True) -> StaysFrozen:  # noqa: ARG002 - as of any module
        """Stay in eval mode."""
        return super().train(mode=False)


class Generator:
    """Makes one network of a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.channels = self.rng.choice((2, 4, 8))

    def network(self) -> tuple[Network, list[tuple[int, ...]]]:
        """Return the network and its input shapes, without the batch dimension."""
        side = self.rng.choice((1, 2, 4, 6, 9))
        shapes: list[tuple[int, ...]] = [(self.channels, side, side)]
        steps = [self._map_step() for _ in range(self.rng.randint(1, 4))]
        steps += self._to_vector()
        steps += [self._vector_step() for _ in range(self.rng.randint(0, 3))]
        second = None
        if self.rng.random() < 0.15:
            shapes.append((3,))
            second = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        return Network([self._wrapped(s) for s in steps], second), shapes

    def _norm2d(self) -> nn.Module:
        c = self.channels
        makers = (
            lambda: nn.BatchNorm2d(c),
            lambda: nn.BatchNorm2d(c),
            lambda: nn.BatchNorm2d(c, track_running_stats=False),
            lambda: nn.BatchNorm2d(c, momentum=None, affine=False),
            lambda: nn.GroupNorm(self.rng.choice((1, 2, c)), c),
            lambda: nn.InstanceNorm2d(c, affine=self.rng.random() < 0.5),
            lambda: StaysFrozen(c).eval(),
        )
        return self.rng.choice(makers)()

    def _map_step(self) -> nn.Module:
        c = self.channels
        conv = nn.Conv2d(c, c, self.rng.choice((1, 3)), stride=self.rng.choice((1, 2)), padding=1)
        return self.rng.choice(
            (
                lambda: nn.Sequential(conv, self._norm2d(), nn.ReLU(inplace=self.rng.random() < 0.5)),
                lambda: nn.Sequential(nn.utils.weight_norm(conv), self._norm2d()),
                lambda: nn.Sequential(nn.utils.spectral_norm(conv), self._norm2d()),
                lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(conv), self._norm2d()),
                lambda: nn.Sequential(nn.AdaptiveAvgPool2d(self.rng.choice((1, 2))), self._norm2d()),
                lambda: Op(lambda s, x: x * torch.sigmoid(s.n(F.adaptive_avg_pool2d(x, 1))), n=self._norm2d()),
                lambda: Op(lambda s, x: s.n(s.n(x).mean((2, 3), keepdim=True)) + x, n=self._norm2d()),
                lambda: Op(lambda _, x: F.batch_norm(F.max_pool2d(x, 2, ceil_mode=True), None, None, training=True)),
                lambda: Op(lambda _, x: F.instance_norm(x)),
                lambda: Op(lambda _, x: F.group_norm(x, 2)),
                lambda: nn.MaxPool2d(2, ceil_mode=True),
                lambda: nn.Dropout(0.3),
            )
        )()

    def _to_vector(self) -> list[nn.Module]:
        c = self.channels
        if self.rng.random() < 0.15:
            return []
        pool = self.rng.choice(
            (
                lambda _, x: x.mean((2, 3)),
                lambda _, x: F.adaptive_avg_pool2d(x, 1).flatten(1),
                lambda _, x: F.adaptive_max_pool2d(x, 1).squeeze(),
                lambda _, x: x.flatten(2).transpose(1, 2).reshape(-1, c),
            )
        )
        self.vector = True
        return [Op(pool), nn.Linear(c, c)]

    def _vector_step(self) -> nn.Module:
        c = self.channels
        if not getattr(self, "vector", False):
            return self._map_step()
        norm = nn.BatchNorm1d(c, track_running_stats=self.rng.random() < 0.9)
        return self.rng.choice(
            (
                lambda: nn.Sequential(nn.Linear(c, c), norm, nn.ReLU()),
                lambda: nn.Sequential(nn.Linear(c, c), norm),
                lambda: Op(lambda s, x: s.n(x[x[:, 0] > -0.5]), n=norm),
                lambda: Op(lambda s, x: s.n(x.unsqueeze(-1)).squeeze(-1), n=norm),
                lambda: nn.LayerNorm(c),
            )
        )()

    def _wrapped(self, step: nn.Module) -> nn.Module:
        """Return the step, or the step as some models hold one."""
        rng = self.rng
        if rng.random() < 0.5:
            return step
        reentrant = rng.random() < 0.3
        return rng.choice(
            (
                lambda: Op(lambda s, x: checkpoint(s.b, x, use_reentrant=reentrant), b=step),
                lambda: _caching(step),
                lambda: _keeping(step),
                lambda: _closing(step),
                lambda: _replacing(step),
                lambda: _hooked(step),
                lambda: Op(lambda s, x: s.b(x) if torch.is_grad_enabled() else x, b=step),
                lambda: Op(lambda s, x: s.b(x) if x.requires_grad else x * 1, b=step),
                lambda: Op(_gradient_first, b=step),
                lambda: Op(_caught, b=step),
                lambda: Op(lambda s, x: x if s.training and random.random() < 0.3 else s.b(x), b=step),
            )
        )()


def _caching(step: nn.Module) -> nn.Module:
    def act(op: Op, x: Tensor) -> Tensor:
        op.feature = op.b(x)
        op.penalty = op.feature.pow(2).mean()
        return op.feature

    return Op(act, b=step)


def _keeping(step: nn.Module) -> nn.Module:
    kept: dict[str, Tensor] = {}
    step.register_forward_hook(lambda *seen: kept.__setitem__("last", seen[-1]))

    def act(op: Op, x: Tensor) -> Tensor:
        op.b(x)
        return kept["last"]

    return Op(act, b=step)


def _closing(step: nn.Module) -> nn.Module:
    op = Op(lambda s, x: s.run(x), b=step)
    op.run = lambda x: op.b(x) * 1.0
    return op


def _replacing(step: nn.Module) -> nn.Module:
    inner = step.forward
    step.forward = lambda x: inner(x * 1.0)
    return step


def _hooked(step: nn.Module) -> nn.Module:
    step.register_forward_pre_hook(lambda _, args: (args[0] * 2,))
    step.register_full_backward_hook(lambda *_: None)
    return step


def _gradient_first(op: Op, x: Tensor) -> Tensor:
    if op.training:
        y = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(torch.tanh(y).sum(), y, create_graph=True)
        x = x + g
    return op.b(x)


def _caught(op: Op, x: Tensor) -> Tensor:
    try:
        return op.b(x)
    except ValueError:
        return x


# ------------------------------------------------------------------------------------------------------ comparison


class Real(NamedTuple):
    """What a real call did: ``ok``, the name of the layer that raised, or ``error`` where it was raised elsewhere."""

    what: str
    error: str = ""


DRAWS = 8
"""An error outside of any normalisation layer may hang on a layer that was skipped by chance: others are tried."""


def really(seed: int, batch_size: int, mode: str, *, stepped: bool) -> Real:
    """Call an equal network, with a backward in training."""
    reals = (_called(seed, batch_size, mode, stepped=stepped, draw=draw) for draw in range(DRAWS))
    first = next(reals)
    return first if first.what != "error" else next((r for r in reals if r.what != "error"), first)


def _called(seed: int, batch_size: int, mode: str, *, stepped: bool, draw: int) -> Real:
    model, shapes = built(seed, stepped=stepped)
    model.train(mode == "train")
    torch.manual_seed(seed)
    random.seed(seed + draw)
    inputs = [torch.randn(batch_size, *shape) for shape in shapes]
    try:
        with torch.set_grad_enabled(mode == "train"):
            out = model(*inputs)
    except Exception as error:  # noqa: BLE001 - the very thing to find out
        return Real(_where(model, error), f"{type(error).__name__}: {error}".splitlines()[0])
    if mode == "train" and out.requires_grad:
        out.sum().backward()
    return Real("ok")


def _where(model: nn.Module, error: BaseException) -> str:
    names = {id(m): n for n, m in model.named_modules()}
    layers = {id(x.module) for x in find_layers(model)}
    found = "error"
    functional = ("batch_norm", "instance_norm", "group_norm")
    owner = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        first = frame.f_locals.get(frame.f_code.co_varnames[0]) if frame.f_code.co_argcount else None
        if isinstance(first, nn.Module) and id(first) in names:
            owner = names[id(first)]
            found = owner if id(first) in layers else found
        if frame.f_code.co_name in functional:
            found = owner
    return found


def built(seed: int, *, stepped: bool) -> tuple[Network, list[tuple[int, ...]]]:
    """Return the network of a seed, after a training step of three samples where that works."""
    torch.manual_seed(seed)
    model, shapes = Generator(seed).network()
    if stepped:
        random.seed(0)
        try:
            model.train()(*(torch.randn(3, *s) for s in shapes))
        except Exception:  # noqa: BLE001 - then it starts from there
            model.eval()
    return model, shapes


class Row(NamedTuple):
    """One comparison."""

    seed: int
    batch_size: int
    mode: str
    real: Real
    said: str
    verdict: str


def compare(seed: int) -> Iterator[Row]:
    """Yield a row for every batch size and mode."""
    stepped = seed % 2 == 0
    for batch_size in SIZES:
        for mode in MODES:
            model, shapes = built(seed, stepped=stepped)
            before = copy.deepcopy(dict(model.named_buffers()))
            fact = bnguard.scan(model, shapes, batch_size=batch_size, mode=mode, device="cpu").models[0]
            real = really(seed, batch_size, mode, stepped=stepped)
            moved = any(not torch.equal(b, before[n]) for n, b in model.named_buffers())
            yield Row(seed, batch_size, mode, real, _shown(fact), "moved" if moved else _judged(real, fact))


def _shown(fact: ModelFact) -> str:
    if fact.first_failure is not None:
        return fact.first_failure
    unknown = next((f"{x.name}: {x.reason}" for x in fact.layers if x.verdict in UNKNOWN), None)
    return unknown or (f"error: {fact.trace_error}" if fact.trace_error else "ok")


UNKNOWN = ("unknown", "data-dependent")


def _judged(real: Real, fact: ModelFact) -> str:
    said, unknown = fact.first_failure, {x.name for x in fact.layers if x.verdict in UNKNOWN}
    if said is not None:
        if real.what == said:
            return "agrees"
        # another layer was named as one of which it is not known: it may stop before that
        return "not known" if real.what in unknown else "false alarm" if real.what in ("ok", "error") else "wrong layer"
    if real.what == "ok" or (real.what == "error" and fact.trace_error):
        return "not known" if unknown or (fact.trace_error and real.what == "ok") else "agrees"
    if real.what == "error" and fact.method == "real":
        return "another error"  # of values, in no normalisation layer: rows that a mask leaves meet a whole batch
    return "not known" if unknown or fact.trace_error else "wrong ok"


WRONG = ("wrong layer", "false alarm", "wrong ok", "moved")


def main() -> int:
    """Compare, print every disagreement with its seed, and the figures."""
    seeds, alone = seeds_asked(__doc__.splitlines()[0], "network")
    found: Counter[str] = Counter()
    for seed in seeds:
        for row in compare(seed):
            found[row.verdict] += 1
            if row.verdict in WRONG or alone:
                print(row, flush=True)
    print(", ".join(f"{count:,} {verdict}" for verdict, count in found.most_common()), f"of {found.total():,}")
    return int(any(found[verdict] for verdict in WRONG))


if __name__ == "__main__":
    sys.exit(main())
