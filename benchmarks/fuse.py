"""What folding BatchNorm gains: differences and speed on torchvision's classification models, after random statistics.

Running statistics, weights and biases are set at random: means around those of a forward, variances 2 to 8 times as
large. With narrower ones a deep network of random weights amplifies the rounding of float32 a thousandfold, fused or
not; how much the plain model rounds by itself (against float64) is printed beside the difference. Then
``bnguard.repair.fuse`` is called, and both models run in turn on the same images.

    python benchmarks/fuse.py                          # everything, about 15 minutes on two cores
    python benchmarks/fuse.py --only resnet
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torchvision import models

from bnguard import repair
from bnguard._errors import BnguardError

SIZES = {"inception_v3": (3, 299, 299)}
"""Of the models that take no 224×224 in training."""
BOUND = 1e-4


@dataclass
class Row:
    """One model: layers, largest difference, the plain model's own rounding, largest output, time plain / fused."""

    model: str
    layers: int
    folded: int
    difference: float
    rounding: float
    output: float
    ratio: float


def with_random_statistics(model: nn.Module, size: tuple[int, ...]) -> nn.Module:
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return model
    for norm in norms:
        norm.momentum = None  # the statistics become those of the one forward
    model.train()
    with torch.no_grad():
        model(torch.randn(2, *size))
    for norm in norms:
        deviation = norm.running_var.sqrt()
        norm.running_mean += 0.1 * deviation * torch.randn_like(deviation)
        norm.running_var *= torch.empty_like(deviation).uniform_(2.0, 8.0)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
    return model.eval()


def seconds(model: nn.Module, x: torch.Tensor) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        model(x)
    return time.perf_counter() - start


def measure(name: str, pairs: int) -> Row | None:
    torch.manual_seed(0)
    size = SIZES.get(name, (3, 224, 224))
    model = with_random_statistics(models.get_model(name, weights=None), size)
    layers = sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    if not layers:
        return None
    try:
        done = repair.fuse(model, inputs=size)
    except BnguardError as error:
        print(f"{name}: {error.message}", file=sys.stderr)
        return Row(name, layers, 0, float("nan"), float("nan"), float("nan"), 1.0)
    x = torch.randn(1, *size)
    for warm in (model, done.model):
        seconds(warm, x)
    times = [(seconds(model, x), seconds(done.model, x)) for _ in range(pairs)]
    ratio = statistics.median(plain / fused for plain, fused in times)
    return Row(name, layers, len(done.fused), done.max_difference, rounding(model, x), done.largest_output, ratio)


def rounding(model: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(x).double() - model.double()(x.double())).abs().max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="models whose name contains this")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write every model here")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    table = Table(
        "model", "BatchNorm layers", "folded", "largest difference", "own rounding", "largest output", "plain / fused"
    )
    rows = []
    for name in models.list_models(module=models):
        row = measure(name, options.pairs) if options.only is None or options.only in name else None
        gc.collect()
        if row is not None:
            rows.append(row)
            numbers = (f"{row.difference:.1e}", f"{row.rounding:.1e}", f"{row.output:.2f}", f"{row.ratio:.2f}")
            table.add_row(name, str(row.layers), str(row.folded), *numbers)
            print(name, *numbers, file=sys.stderr)
    Console(width=110).print(table)
    worst = max(r.difference for r in rows)
    print(f"{len(rows)} models; largest difference {worst:.1e} (at most {BOUND:.0e})")
    print(f"plain / fused: median {statistics.median(r.ratio for r in rows):.2f}")
    if options.json:
        document = {"torch": torch.__version__, "rows": [asdict(r) for r in rows]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if worst < BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
