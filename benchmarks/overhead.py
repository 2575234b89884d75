"""What the guard costs while all goes well: guarded against unguarded training steps, in turn, in one process.

Each pair is one step without and one step with the guard, on the same batch and in changing order; printed is the
median of the paired ratios. The guard is open around the step, as it is around a training loop; what opening and
closing it costs is printed beside.

    python benchmarks/overhead.py                     # 300 pairs each, a few minutes on two cores
    python benchmarks/overhead.py --pairs 50 --json overhead.json
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn

import bnguard

LIMITS = {"guard": 1.01, "guard, watch=True": 1.02}


def resnet() -> tuple[nn.Module, torch.Tensor]:
    from torchvision.models import resnet18

    return resnet18(num_classes=10), torch.randn(4, 3, 64, 64)


def norms_alone() -> tuple[nn.Module, torch.Tensor]:
    """Ten BatchNorm layers and nothing else: no other work hides what a hook costs."""
    return nn.Sequential(*(nn.BatchNorm2d(32) for _ in range(10))), torch.randn(16, 32, 16, 16)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def seconds(context: AbstractContextManager[object], run: Callable[[], None]) -> float:
    with context:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start


def opening(guard: AbstractContextManager[object]) -> float:
    start = time.perf_counter()
    for _ in range(100):
        with guard:
            pass
    return (time.perf_counter() - start) / 100


def ratios(make: Callable[[], tuple[nn.Module, torch.Tensor]], watch: bool, pairs: int) -> tuple[list[float], float]:
    model, x = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    guard = bnguard.guard(model, watch=watch)
    found = []
    gc.collect()
    gc.disable()
    for i in range(pairs + 10):
        order = [nullcontext(), guard] if i % 2 else [guard, nullcontext()]
        took = {id(c): seconds(c, lambda: step(model, optimizer, x)) for c in order}
        plain = next(v for k, v in took.items() if k != id(guard))
        if i >= 10:  # the first steps warm caches and allocators
            found.append(took[id(guard)] / plain)
    gc.enable()
    return found, opening(guard)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, make in (("ResNet-18, 4×3×64×64", resnet), ("10 BatchNorm layers, 16×32×16×16", norms_alone)):
        for kind, limit in LIMITS.items():
            measured, once = ratios(make, kind != "guard", options.pairs)
            median = statistics.median(measured)
            row = {"model": name, "guard": kind, "pairs": len(measured), "median": round(median, 4), "limit": limit}
            rows.append(row | {"opening_us": round(once * 1e6)})
            tail = f"(at most {limit:.2f}, {len(measured)} pairs; opening {once * 1e6:.0f} µs)"
            print(f"{name:34}{kind:20}{median:8.4f}    {tail}", flush=True)
    if options.json:
        options.json.write_text(
            json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
