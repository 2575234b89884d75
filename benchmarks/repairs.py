"""Does a repaired model train on one sample? Every torchvision model that fails there, three fixes, real steps.

For each classification and segmentation model and each input size of ``benchmarks/accuracy.py`` at which BatchNorm
fails on one sample: after ``allow_single_sample``, ``freeze`` and ``to_group_norm`` a forward, a backward and an
optimiser step run on the CPU, and loss, gradients and parameters must be finite. Prints a table, writes JSON with
``--json`` and the table of ``docs/benchmarks.md`` with ``--markdown``.

    python benchmarks/repairs.py                       # everything, about 15 minutes on two cores
    python benchmarks/repairs.py --only resnet
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accuracy import cases, keywords
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor, nn
from torchvision import models

import bnguard
from bnguard._facts.models import ModelFact
from bnguard._models.inputs import map_tensors

FAMILIES = ("classification", "segmentation")
FIXES = ("allow_single_sample", "freeze", "to_group_norm")


@dataclass
class Row:
    """One fix of one model at one input size; ``result`` is ``trains`` or what went wrong."""

    family: str
    model: str
    size: tuple[int, ...]
    layer: str
    fix: str
    changed: int
    verified: bool | None
    result: str
    seconds: float


def build(family: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    extra: dict[str, Any] = {"weights_backbone": None} if "weights_backbone" in keywords(family) else {}
    return models.get_model(name, weights=None, **extra)


def train_once(model: nn.Module, size: tuple[int, ...]) -> str:
    """Run one real training step on one sample; say ``trains``, or what was not finite, or what was raised."""
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-3)
    model.train()
    try:
        outputs: list[Tensor] = []
        map_tensors(tuple(_values(model(torch.randn(1, *size)))), lambda t: outputs.append(t) or t)
        loss = sum((t.float().square().mean() for t in outputs), torch.zeros(()))
        loss.backward()
        optimiser.step()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    parts = {"loss": [loss], "gradient": gradients, "parameter": list(model.parameters())}
    broken = [name for name, tensors in parts.items() if not all(torch.isfinite(t).all() for t in tensors)]
    return f"{broken[0]} not finite" if broken else "trains" if gradients else "no gradient"


def _values(output: Any) -> Iterator[Any]:  # noqa: ANN401 - what a model returns
    yield from output.values() if isinstance(output, dict) else [output]


def refuses(fact: ModelFact) -> bool:
    """Whether the forward fails for a reason that has nothing to do with normalisation, at any batch size."""
    return fact.trace_error is not None


def failing(family: str, only: str | None) -> Iterator[tuple[str, tuple[int, ...], str]]:
    for name, size in cases(family):
        if only is None or only in name:
            module = "torchvision.models" + (".segmentation" if family == "segmentation" else "")
            call = f"{module}:{models.get_model_builder(name).__name__}({keywords(family)})"
            fact = bnguard.scan(call, size).models[0]
            if fact.first_failure is not None and refuses(fact):
                print(f"left out: {name} {size}: no fix of BatchNorm helps, {fact.trace_error}", file=sys.stderr)
            elif fact.first_failure is not None:
                yield name, size, fact.first_failure


def compare(family: str, name: str, size: tuple[int, ...], layer: str) -> Iterator[Row]:
    plain = train_once(build(family, name), size)
    if "Expected more than 1 value" not in plain:
        yield Row(family, name, size, layer, "none", 0, None, f"does not fail: {plain}", 0.0)
    for fix in FIXES:
        model = build(family, name)
        started = time.perf_counter()
        done = getattr(bnguard.repair, fix)(model, inputs=size)
        seconds = time.perf_counter() - started
        result = train_once(model, size)
        yield Row(family, name, size, layer, fix, len(done.changed), done.verified, result, seconds)
        del model, done
        gc.collect()


def run(only: str | None) -> list[Row]:
    columns = (TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rows: list[Row] = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("scanning", total=None)
        todo = [(family, *case) for family in FAMILIES for case in failing(family, only)]
        progress.update(task, total=len(todo))
        for family, name, size, layer in todo:
            progress.update(task, description=f"{name} {size[-1]}")
            rows += compare(family, name, size, layer)
            for row in rows[-len(FIXES) :]:
                if row.result != "trains":
                    progress.console.print(f"{row}", markup=False)
            progress.advance(task)
    return rows


def summary(rows: list[Row]) -> list[tuple[str, ...]]:
    """One line a model and size: the layer that fails, and what each fix came to."""
    lines = []
    for name, size in dict.fromkeys((r.model, r.size) for r in rows):
        mine = {r.fix: r for r in rows if (r.model, r.size) == (name, size)}
        layer = next(iter(mine.values())).layer
        lines.append((name, "x".join(map(str, size[1:])), layer, *(mine[f].result for f in FIXES if f in mine)))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="models whose name contains this")
    parser.add_argument("--json", type=Path, help="write every step here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = run(options.only)
    head = ("model", "image", "fails first at", *FIXES)
    table = Table(*head)
    for line in summary(rows):
        table.add_row(*line)
    Console(width=140).print(table)
    good = sum(r.result == "trains" and bool(r.verified) for r in rows)
    print(f"{good} of {len(rows)} train on one sample after the fix")
    if options.json:
        document = {"torch": torch.__version__, "rows": [asdict(r) for r in rows]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown:
        cells = [head, tuple("---" for _ in head), *((a, b, f"`{c}`", *rest) for a, b, c, *rest in summary(rows))]
        options.markdown.write_text("".join(f"| {' | '.join(line)} |\n" for line in cells))
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
