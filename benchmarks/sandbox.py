"""What it takes to have nothing left behind: a script in a sandbox and alone, in turn; medians of the differences.

The folders: a small project; one with a virtual environment, ``.git`` and ``node_modules``; one of 100,000 files.
The scripts: one that does nothing (what is added to every run), one that imports torch (read through the view), and one
that reads 20,000 files (what each opening costs). ``put back`` is what the starting process does after the script.

    python benchmarks/sandbox.py                      # 9 pairs, a few minutes
    python benchmarks/sandbox.py --pairs 3 --json sandbox.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bnguard._sandbox.box import Sandbox  # noqa: E402 - this tree's, whatever is installed

WAYS: tuple[Literal["overlay", "journal"], ...] = ("overlay", "journal")
SCRIPTS = {
    "nothing": "pass",
    "import torch": "import torch",
    "read 20,000 files": "import os\nfor n in range(20_000):\n    with open(f'many/{n % 1000}') as f: f.read()",
    "write 1,000 files": "for n in range(1000):\n    with open(f'new{n}', 'w') as f: f.write('x')",
    "append 1,000 times": "for n in range(1000):\n    with open('log.csv', 'a') as f: f.write('x')",
    "overwrite 1 GB": "with open('big', 'wb') as f:\n    for n in range(64): f.write(bytes(1 << 24))",
}


def small(folder: Path) -> None:
    for number in range(30):
        (folder / f"module{number}.py").write_text("x = 1\n")
    (folder / "many").mkdir()
    for number in range(1000):
        (folder / "many" / str(number)).write_text("x")
    (folder / "log.csv").write_text("a,b\n" * 1000)
    with (folder / "big").open("wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 24))


def with_environments(folder: Path) -> None:
    (folder / "venv").mkdir()
    (folder / "venv/pyvenv.cfg").touch()
    for place, count in (("venv/lib", 20_000), (".git/objects", 20_000), ("node_modules/a", 20_000)):
        (folder / place).mkdir(parents=True)
        for number in range(count):
            (folder / place / str(number)).touch()


def large(folder: Path) -> None:
    for part in range(100):
        (folder / f"part{part}").mkdir()
        for number in range(1000):
            (folder / f"part{part}" / str(number)).touch()


CASES: tuple[tuple[str, Callable[[Path], None], str], ...] = (
    *(("a small project", small, name) for name in SCRIPTS),
    ("60,000 files that are not listed", with_environments, "nothing"),
    ("100,000 files", large, "nothing"),
)


def alone(script: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, script.name], cwd=script.parent, check=True)
    return time.perf_counter() - start


def in_sandbox(script: Path, way: Literal["overlay", "journal"]) -> tuple[float, float] | None:
    start = time.perf_counter()
    with Sandbox(script.parent, script=script, way=way) as box:
        argv, env = box.command([sys.executable, script.name], os.environ)
        subprocess.run(argv, env=env, cwd=script.parent, check=True)
        ended = time.perf_counter()
    end = time.perf_counter()
    return (end - start, end - ended) if box.way == way else None


def measure(make: Callable[[Path], None], text: str, pairs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        make(Path(place))
        script = Path(place, "script.py")
        script.write_text(text)
        taken: dict[str, list[float]] = {}
        for turn in range(pairs + 1):
            plain = alone(script)
            for way in WAYS:
                found = in_sandbox(script, way)
                if found is not None and turn:  # the first turn warms the caches of the file system
                    taken.setdefault("alone", []).append(plain)
                    taken.setdefault(f"{way} adds", []).append(found[0] - plain)
                    taken.setdefault(f"{way}: put back", []).append(found[1])
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {}
    for folder, make, script in CASES:
        results[f"{folder}, {script}"] = found = measure(make, SCRIPTS[script], options.pairs)
        print(f"{folder}, {script}: " + ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in found.items()))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
