"""What ``benchmarks/frameworks.py`` asks of a script here, by ``FRAMEWORK_USE``; without it the scripts just train.

``plain`` and ``reference`` know nothing of bnguard. The first lets the training fail and notes where: the innermost
module in the traceback, its name in the outermost one, and how often it was called in training. The second takes
PyTorch's check of the batch size away, so that the epoch is shown whole, and notes which rows it holds.
"""

from __future__ import annotations

import json
import os
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

USE = os.environ.get("FRAMEWORK_USE")
REFUSED: dict[str, str | None] = {}
"""What merge_tail has refused, and the hint."""


def note(**values: object) -> None:
    """Write down what was found, for each rank in a file of its own."""
    rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    Path(f"{os.environ['FRAMEWORK_NOTES']}.{rank}").write_text(json.dumps(values), encoding="utf-8")


# ------------------------------------------------------------------------------------------- what a script calls


def merged(loader: Any, way: Callable[[], Any] | None = None) -> Any:
    """Return the loader of the script, repaired where that is asked for.

    Args:
        loader: of any library.
        way: makes the loader in the way that the refusal names, where this one is refused.

    """
    if USE != "merge_tail":
        return loader
    import bnguard

    try:
        return bnguard.repair.merge_tail(loader)
    except bnguard.BnguardError as error:
        if way is None:
            raise
        REFUSED.update(refused=str(error), hint=error.hint)
        return way()


def allowed(model: nn.Module) -> nn.Module:
    """Return the model of the script, repaired where that is asked for."""
    if USE == "allow_single_sample":
        import bnguard

        bnguard.repair.allow_single_sample(model)
    return model


def train(fit: Any, model: nn.Module | None = None, loader: Any = None, **told: Any) -> None:
    """Call ``fit``, which trains this model on this loader, or on what this function makes as the framework does.

    What else is given is what a forecast must be told; ``otherwise`` are the arguments of one that knows more.
    """
    if USE is None:
        fit()
    elif USE == "forecast":
        _forecast(model, loader() if callable(loader) else loader, **told)
    elif USE == "guard":
        _guard(fit, model)
    else:
        _watch(fit)


# ------------------------------------------------------------------------------------------------- with bnguard


def _forecast(model: nn.Module | None, loader: Any, otherwise: dict[str, Any] | None = None, **told: Any) -> None:
    """Note the forecast, and where it is not known the one of which its reason speaks: it reads the data, usually."""
    import bnguard

    report = bnguard.forecast(model, loader, **told)
    if all(forecast.stops is not None for forecast in report.forecasts):
        note(report=report.to_dict(), other=None)
        return
    otherwise = otherwise or {"loader": loader, "count": True}
    way = ", ".join(f"{name}={value!r}" for name, value in otherwise.items() if name != "loader")
    note(report=report.to_dict(), other=bnguard.forecast(model, **otherwise).to_dict(), way=way)


def _guard(fit: Any, model: nn.Module | None) -> None:
    import bnguard

    try:
        with bnguard.guard(model):
            fit()
    except BaseException as error:
        found = getattr(error, "bnguard", None)
        note(layer=None if found is None else found.layer)
        raise


# ---------------------------------------------------------------------------------------------- without bnguard


class Seen:
    """How often each module was called in training, and which rows the first layer of the model got."""

    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()
        self.first: nn.Module | None = None
        self.rows: list[str] = []

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if not module.training:
            return
        self.calls[id(module)] += 1
        rows = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if self.first is None and rows is not None and next(module.children(), None) is None:
            self.first = module
        if module is self.first and rows is not None:
            self.rows += [" ".join(f"{x:.5f}" for x in row.flatten()[:6].tolist()) for row in rows]


def _watch(fit: Any) -> None:
    seen = Seen()
    register_module_forward_pre_hook(seen)
    if USE == "reference":
        nn.functional.__dict__["_verify_batch_size"] = lambda _: None
    try:
        fit()
    except BaseException as error:
        note(**_where(error, seen))
        raise
    note(rows=seen.rows, steps=seen.calls[id(seen.first)], **REFUSED)


def _where(error: BaseException, seen: Seen) -> dict[str, object]:
    """Say which layer refused, at its how many-th call: each step calls it once."""
    for one in _chain(error):
        frames = [frame for frame, _ in traceback.walk_tb(one.__traceback__)]
        modules = [m for f in frames if isinstance(m := f.f_locals.get("self"), nn.Module)]
        if modules and isinstance(modules[-1], nn.modules.batchnorm._BatchNorm):
            layer = modules[-1]
            roots = [m for m in modules if any(part is layer for part in m.modules())]
            names = {next(n for n, part in root.named_modules() if part is layer) for root in roots[:2]}
            return {"layers": sorted(names), "step": seen.calls[id(layer)], "error": type(one).__name__}
    return {"error": f"{type(error).__name__}: {error}"}


def _chain(error: BaseException | None) -> Any:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
