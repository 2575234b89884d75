"""How long ``bnguard audit-loader`` takes as a whole process, against the imports any such tool needs.

Runs the command and ``python -c "import typer, rich.console, rich.table"`` in turn, so that both meet the
same state of the machine, and prints the median of the paired ratios.
Needs no torch. Run it from a checkout or
against an installed package: ``python benchmarks/startup.py [PAIRS]``.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BASE = ["-c", "import typer, rich.console, rich.table"]
COMMAND = ["-m", "bnguard", "audit-loader", "--n", "9", "--bs", "8"]


def seconds(arguments: list[str], env: dict[str, str]) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, check=False)
    took = time.perf_counter() - start
    if done.returncode not in (0, 1):
        sys.exit(done.stderr.decode())
    return took


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    root = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as cache:  # compiled as an installed package is, wherever this runs
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {
            "PYTHONPYCACHEPREFIX": cache,
            "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        }
        for arguments in (BASE, COMMAND):
            seconds(arguments, env)
        measured = [(seconds(BASE, env), seconds(COMMAND, env)) for _ in range(pairs)]
    base, command = (statistics.median(column) for column in zip(*measured, strict=True))
    ratio = statistics.median(c / b for b, c in measured)
    print(f"{'typer and rich alone':34}{base * 1000:8.0f} ms")
    print(f"{'bnguard audit-loader --n 9 --bs 8':34}{command * 1000:8.0f} ms")
    print(f"{'ratio, median of ' + str(pairs) + ' pairs':34}{ratio:8.2f}    (at most 1.30)")


if __name__ == "__main__":
    main()
