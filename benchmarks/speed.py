"""How fast is a scan? Construction and analysis of torchvision's classification models against torchinfo.

For each model the two are timed in turn, in one process: ``bnguard.scan`` of the target, and building the model and
``torchinfo.summary(model, input_size=(1, …), mode="train")``. Prints the paired ratios; ``--json`` keeps them.

    python benchmarks/speed.py                # every model, about 6 minutes on two cores
    python benchmarks/speed.py --process      # a whole `bnguard scan` against importing and building alone
    python benchmarks/speed.py --memory       # peak memory of scanning regnet_y_128gf against the import alone
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

BASELINE = "import torch, torchvision; torchvision.models.resnet18()"


def against_torchinfo(repeats: int, only: str | None) -> list[dict[str, object]]:
    import torchinfo
    from torchvision import models

    import bnguard
    from bnguard._models.inputs import SpecInputs, TensorSpec

    names = [n for n in models.list_models(module=models) if only is None or only in n]
    rows: list[dict[str, object]] = []
    bnguard.scan("torchvision.models:resnet18", (3, 64, 64))  # imports and caches of both are warm
    torchinfo.summary(models.resnet18(), input_size=(1, 3, 64, 64), mode="train", verbose=0)
    for name in track(names, console=Console(stderr=True), description="models"):
        size = (3, 299, 299) if name == "inception_v3" else (3, 224, 224)
        recipe = SpecInputs((TensorSpec(size),), "given")
        ours, theirs, worked = [], [], True
        for _ in range(repeats):
            gc.collect()
            start = time.perf_counter()
            report = bnguard.scan(f"torchvision.models:{name}(weights=None)", recipe)
            ours.append(time.perf_counter() - start)
            worked = worked and report.models[0].method == "meta" and report.models[0].trace_error is None
            gc.collect()
            start = time.perf_counter()
            try:
                torchinfo.summary(models.get_model(name, weights=None), input_size=(1, *size), mode="train", verbose=0)
            except RuntimeError:  # a model that fails at batch size 1 in train mode fails in torchinfo too
                worked = False
            theirs.append(time.perf_counter() - start)
        rows.append(
            {
                "model": name,
                "bnguard": min(ours),
                "torchinfo": min(theirs),
                "worked": worked,
                "ratio": statistics.median(t / o for t, o in zip(theirs, ours, strict=True)),
            }
        )
    return rows


def show(rows: list[dict[str, object]]) -> None:
    table = Table("model", "bnguard ms", "torchinfo ms", "ratio")
    for row in rows:
        table.add_row(
            str(row["model"]) + ("" if row["worked"] else " *"),
            f"{1e3 * float(row['bnguard']):.1f}",
            f"{1e3 * float(row['torchinfo']):.1f}",
            f"{float(row['ratio']):.1f}",
        )
    Console(width=90).print(table)
    ours, theirs = (sum(float(r[k]) for r in rows) for k in ("bnguard", "torchinfo"))
    print(
        f"{len(rows)} models: median ratio {statistics.median(float(r['ratio']) for r in rows):.2f}, "
        f"ratio of the sums {theirs / ours:.2f}"
        + ("" if all(r["worked"] for r in rows) else "  (* one side stopped early)")
    )


def whole_process(pairs: int) -> None:
    scan = [sys.executable, "-m", "bnguard", "scan", "torchvision.models:resnet18"]
    plain = [sys.executable, "-c", BASELINE]
    ratios = []
    for index in range(pairs + 1):
        a, b = _timed(scan), _timed(plain)
        if index:  # the first pair warms the disk cache
            ratios.append(a / b)
            print(f"scan {a:.2f} s, import and build {b:.2f} s, ratio {a / b:.3f}", flush=True)
    print(f"whole process: median ratio {statistics.median(ratios):.3f} over {pairs} pairs")


def _timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def memory() -> None:
    scan = _peak([sys.executable, "-m", "bnguard", "scan", "torchvision.models:regnet_y_128gf"])
    plain = _peak([sys.executable, "-c", "import torch, torchvision"])
    print(
        f"peak memory: scan of regnet_y_128gf {scan:.0f} MB, import alone {plain:.0f} MB, more: {scan - plain:.0f} MB"
    )


def _peak(command: list[str]) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="models whose name contains this")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--process", action="store_true")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.process:
        whole_process(options.pairs)
    elif options.memory:
        memory()
    else:
        rows = against_torchinfo(options.repeats, options.only)
        show(rows)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
