"""``bnguard.forecast`` against one real epoch on random loaders: no ✓ where training stops.

    python benchmarks/random_loaders.py --n 2000
    python benchmarks/random_loaders.py --seed 17      # one loader, with all that was found

Each pair of a model and a loader comes of its seed (``random_loader_pairs.py``): datasets, samplers, batch samplers,
collate functions and loader classes as people write them (``random_loader_parts.py``), and small models with and
without a layer that one sample breaks. An equal pair is trained for one epoch, with other random numbers, and what is
foreseen is held against it.
"""

from __future__ import annotations

import random
import re
import sys
import traceback
from collections import Counter
from typing import NamedTuple

import torch
from random_loader_pairs import built
from seeds import seeds_asked
from torch import nn

import bnguard
from bnguard._facts.forecasts import ForecastFact


class Real(NamedTuple):
    """Where training stopped, if it did; ``elsewhere`` is an error of no normalisation layer."""

    epoch: int = 1
    step: int | None = None
    layer: str | None = None
    elsewhere: bool = False
    error: str = ""


def really(seed: int, epochs: int = 1) -> Real:
    """Train an equal pair, with random numbers of its own."""
    model, loader, call, *_ = built(seed)
    torch.manual_seed(seed + 1_000_003)
    random.seed(seed + 1_000_003)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    epoch, step = 1, 0
    try:
        for epoch in range(1, epochs + 1):  # noqa: B007 - the one that is not finished
            step = 0
            for batch in loader:
                step += 1
                call(model, batch).sum().backward()
                optimizer.step()
    except Exception as error:  # noqa: BLE001 - the very thing to find out
        layer, words = _layer_of(model, error), f"{type(error).__name__}: {error}".splitlines()[0]
        return Real(epoch, step, layer, layer is None, words)
    return Real()


NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)


def _layer_of(model: nn.Module, error: BaseException) -> str | None:
    """Return the innermost normalisation layer of the traceback."""
    names = {id(m): n for n, m in model.named_modules() if isinstance(m, NORMS)}
    owners = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((names[id(o)] for o in reversed([*owners]) if id(o) in names), None)


class Row(NamedTuple):
    """One comparison."""

    seed: int
    verdict: str
    real: Real
    said: str
    reason: str
    made_of: str


def compare(seed: int) -> Row:
    """Hold what is foreseen of the pair of a seed against its real epoch."""
    pair = built(seed)
    try:
        fact = bnguard.forecast(
            pair.model, pair.loader, pair.inputs, count="without length" in pair.made_of, device="cpu"
        ).forecasts[0]
    except bnguard.BnguardError as error:
        return Row(seed, "not known", really(seed), "refused", f"refused: {error.message}", pair.made_of)
    real = really(seed, fact.epoch)
    said = f"stops={fact.stops} epoch={fact.epoch} step={fact.step} layer={fact.layer}"
    return Row(seed, _judged(real, fact), real, said, fact.unknown or "", pair.made_of)


def _judged(real: Real, fact: ForecastFact) -> str:
    if fact.stops is None:
        return "stops elsewhere" if real.elsewhere else "not known"
    stopped = real.step is not None
    if not fact.stops:
        return "wrong ✓" if stopped else "right"
    if not stopped:
        return "false ✗"
    same_step = fact.step in (real.step, None)  # None: it is known to come, not when
    same = same_step and (fact.epoch, fact.layer) == (real.epoch, real.layer)
    return "right" if same else "wrong place"


WRONG = ("wrong ✓", "false ✗", "wrong place")


def kind_of(reason: str) -> str:
    """Return a reason without what differs from pair to pair."""
    return re.sub(r"\d[\d,.]*", "#", reason)[:110]


def main() -> int:
    """Compare, print every disagreement with its seed, and the figures."""
    seeds, alone = seeds_asked(__doc__.splitlines()[0], "pair")
    found: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for seed in seeds:
        row = compare(seed)
        found[row.verdict] += 1
        if row.verdict == "not known":
            reasons[kind_of(row.reason)] += 1
        if row.verdict in WRONG or alone:
            print(row, flush=True)
    for verdict, count in found.most_common():
        print(f"{count:6,}  {count / found.total():6.1%}  {verdict}")
    for reason, count in reasons.most_common():
        print(f"{count:6,}  not known: {reason}")
    return int(any(found[verdict] for verdict in WRONG))


if __name__ == "__main__":
    sys.exit(main())
