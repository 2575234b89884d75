"""What a preflight takes beyond the steps it runs: whole processes, in turn, and the median of the differences.

Each pair is one ``bnguard preflight`` of examples/training/resnet18_split.py and one run of the same script with a line
that ends it after its first optimizer step. Both import torch and torchvision, build the model and train one step; the
preflight starts one process more, runs into the second step and explains it on shapes.

    python benchmarks/preflight.py                    # 15 pairs, three minutes on two cores
    python benchmarks/preflight.py --pairs 5 --json preflight.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "examples/training/resnet18_split.py"
STEP = "            optimizer.step()\n"
LIMIT = 0.5
"""Seconds by which a preflight may take longer."""


def stopped_by_hand(folder: str) -> Path:
    """Return a copy of the script that ends after its first step."""
    source = SCRIPT.read_text(encoding="utf-8")
    assert source.count(STEP) == 1, "the example steps in one place"
    copy = Path(folder, SCRIPT.name)
    copy.write_text(source.replace(STEP, f"{STEP}            raise SystemExit\n"), encoding="utf-8")
    return copy


def seconds(*command: str, code: int) -> float:
    start = time.perf_counter()
    result = subprocess.run([sys.executable, *command], capture_output=True, cwd=ROOT, check=False)
    taken = time.perf_counter() - start
    assert result.returncode == code, result.stderr.decode()
    return taken


def measure(pairs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        by_hand = str(stopped_by_hand(folder))
        ways = {
            "by hand": lambda: seconds(by_hand, code=0),
            "preflight": lambda: seconds("-m", "bnguard", "preflight", str(SCRIPT), code=1),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for pair in range(-1, pairs):  # the first pair warms the caches of the file system
            for name in list(ways) if pair % 2 else reversed(ways):
                taken[name].append(ways[name]())
        lasting = {name: times[1:] for name, times in taken.items()}
    differences = [a - b for a, b in zip(lasting["preflight"], lasting["by hand"], strict=True)]
    return {**{n: statistics.median(t) for n, t in lasting.items()}, "difference": statistics.median(differences)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.pairs)
    print(f"{SCRIPT.name}, {options.pairs} pairs, whole processes, medians in seconds")
    for name in ("by hand", "preflight", "difference"):
        print(f"  {name:24}{found[name]:8.2f}")
    print(f"  {'limit of the difference':24}{LIMIT:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
