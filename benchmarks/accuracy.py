"""Does the scan agree with PyTorch? Every torchvision model at three input sizes, in train mode at batch size 1.

For each model and size the scan's answer (which layer fails first, if any) is compared with a real forward on the
CPU. Prints a table, writes JSON with ``--json``.

    python benchmarks/accuracy.py                    # everything, about 25 minutes on two cores
    python benchmarks/accuracy.py --family video
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import nn
from torchvision import models

import bnguard
from bnguard._models.inputs import DetectionInputs, Inputs, SpecInputs, TensorSpec
from bnguard._trace.copies import copy_for_trace

SIZES = {
    "classification": [(3, 224, 224), (3, 64, 64), (3, 32, 32)],
    "segmentation": [(3, 224, 224), (3, 64, 64), (3, 32, 32)],
    "video": [(3, 16, 112, 112), (3, 8, 64, 64), (3, 4, 32, 32)],
    "detection": [(3, 224, 224), (3, 96, 96), (3, 64, 64)],
}
_MODULES = {
    "classification": models,
    "segmentation": models.segmentation,
    "video": models.video,
    "detection": models.detection,
}


@dataclass
class Row:
    """One comparison. ``real`` and ``scan`` are a layer's name, ``ok``, or ``error: …`` of the model's own."""

    family: str
    model: str
    size: tuple[int, ...]
    real: str
    scan: str
    method: str
    seconds_real: float
    seconds_scan: float

    @property
    def agrees(self) -> bool:
        """Errors of the model itself agree when both stop there, however the message is worded."""
        return self.real.split(":")[0] == self.scan.split(":")[0]


def cases(family: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in models.list_models(module=_MODULES[family]):
        for size in SIZES[family]:
            yield name, size


def keywords(family: str) -> str:
    extra = ", weights_backbone=None" if family in ("segmentation", "detection") else ""
    return f"weights=None{extra}"


def real_answer(
    model: nn.Module, inputs: Inputs, *, batch_size: int = 1, mode: str = "train", lazy_copy: bool = False
) -> str:
    """Run a real forward and name the layer that raises, from the modules on its stack.

    ``lazy_copy`` runs a copy, so that lazy modules of the original stay lazy.
    """
    model = copy_for_trace(model, "shared") if lazy_copy else model
    names = {id(m): n for n, m in model.named_modules()}
    args, kwargs = inputs.make(batch_size, "cpu")
    model.train(mode == "train")
    try:
        with torch.no_grad():
            model(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - a model's own error is an answer too
        layer = None
        trace = error.__traceback__
        while trace is not None:
            inner = trace.tb_frame.f_locals.get("self")
            layer = names.get(id(inner), layer) if isinstance(inner, nn.Module) else layer
            trace = trace.tb_next
        if "Expected more than 1" in str(error):
            return str(layer)
        return f"error: {type(error).__name__}: {str(error).splitlines()[0][:60]}"
    return "ok"


def compare(family: str, name: str, size: tuple[int, ...]) -> Row:
    module = _MODULES[family]
    build: Callable[..., nn.Module] = models.get_model_builder(name)
    call = f"{module.__name__}:{build.__name__}({keywords(family)})"
    inputs: Inputs = (
        DetectionInputs(size, "given") if family == "detection" else SpecInputs((TensorSpec(size),), "given")
    )
    started = time.perf_counter()
    fact = bnguard.scan(call, inputs).models[0]
    scanned = time.perf_counter()
    answer = fact.first_failure or (f"error: {fact.trace_error}" if fact.trace_error else "ok")
    torch.manual_seed(0)
    model = build(weights=None, **({"weights_backbone": None} if family in ("segmentation", "detection") else {}))
    real = real_answer(model, inputs)
    return Row(family, name, size, real, answer, fact.method, time.perf_counter() - scanned, scanned - started)


def run(families: list[str], only: str | None) -> list[Row]:
    todo = [(f, *case) for f in families for case in cases(f) if only is None or only in case[0]]
    rows: list[Row] = []
    columns = (TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(todo))
        for family, name, size in todo:
            progress.update(task, description=f"{name} {size[-1]}")
            rows.append(compare(family, name, size))
            if not rows[-1].agrees:
                progress.console.print(f"differs: {rows[-1]}", markup=False)
            progress.advance(task)
            gc.collect()
    return rows


def show(rows: list[Row]) -> None:
    table = Table("family", "models", "pairs", "agree", "fail at 1", "own error", "by shapes", "scan s", "forward s")
    for family in dict.fromkeys(r.family for r in rows):
        of = [r for r in rows if r.family == family]
        table.add_row(
            family,
            str(len({r.model for r in of})),
            str(len(of)),
            f"{sum(r.agrees for r in of)}",
            str(sum(r.real not in ("ok",) and not r.real.startswith("error") for r in of)),
            str(sum(r.real.startswith("error") for r in of)),
            str(sum(r.method == "meta" for r in of)),
            f"{sum(r.seconds_scan for r in of):.1f}",
            f"{sum(r.seconds_real for r in of):.1f}",
        )
    Console(width=110).print(table)
    agree = sum(r.agrees for r in rows)
    print(f"{agree} of {len(rows)} agree: {100 * agree / len(rows):.2f} %")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", choices=list(SIZES))
    parser.add_argument("--only", help="models whose name contains this")
    parser.add_argument("--json", type=Path, help="write every comparison here")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = run(options.family or list(SIZES), options.only)
    show(rows)
    if options.json:
        document = {"torch": torch.__version__, "rows": [asdict(r) | {"agrees": r.agrees} for r in rows]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if all(r.agrees for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
