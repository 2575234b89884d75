"""What does `bnguard check` cost beyond what must be done? 50 torchvision models, 4 loaders each, one process tree.

First what must be done is measured in a process of its own: importing torch and torchvision, building each model once
without weights, and following its forward once at each distinct batch size and mode. Then ``bnguard check --jobs 1`` of
the same declaration is timed, and ``--jobs 2``; the peak memory is that of all processes of the tree at one time.

    python benchmarks/check.py              # about 4 minutes on two cores
    python benchmarks/check.py --models 10
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread

MOST = 1.3
"""The check may take this much of the sum of what must be done."""

LOADERS = {"train": (50_001, 64), "small": (1_000, 48), "val": (10_000, 100), "test": (777, 50)}
"""Samples and batch size; val and test run in eval mode."""

IMAGE = "3,224,224"


def sizes() -> list[tuple[str, int]]:
    """Return the distinct batch sizes with the mode they come in."""
    found = dict.fromkeys(
        ("train" if name in ("train", "small") else "eval", size)
        for name, (n, batch) in LOADERS.items()
        for size in (batch, n % batch)
        if size
    )
    return list(found)


def declaration(models: list[str]) -> str:
    entries = [f'[models.{name}]\ntarget = "torchvision.models:{name}"\ninput = "{_image(name)}"\n' for name in models]
    feeds = json.dumps(models)
    for name, (n, batch) in LOADERS.items():
        entries.append(f"[loaders.{name}]\nn = {n}\nbatch-size = {batch}\nfeeds = {feeds}\n")
    return "\n".join(entries)


def _image(name: str) -> str:
    return "3,299,299" if name == "inception_v3" else IMAGE


def must(models: list[str]) -> dict[str, float]:
    """Do in this process what cannot be done without; return the seconds of each part."""
    start = time.perf_counter()
    from bnguard.heavy import import_torch

    import_torch()
    import torchvision.models  # noqa: F401

    from bnguard.forecasting import planning  # noqa: F401 - our own modules are a part of it
    from bnguard.model.inputs import SpecInputs, parse_input
    from bnguard.model.opened import opened

    spent = {"import": time.perf_counter() - start, "build": 0.0, "trace": 0.0}
    for name in models:
        start = time.perf_counter()
        with opened(f"torchvision.models:{name}", mode="train", device="cuda") as built:
            (model,) = built
            spent["build"] += time.perf_counter() - start
            start = time.perf_counter()
            inputs = SpecInputs((parse_input(_image(name)),), "given")
            for mode, size in sizes():
                model.subject.set_mode("train" if mode == "train" else "eval")
                model.subject.best_trace(inputs, size, lambda _: None)
            spent["trace"] += time.perf_counter() - start
    return spent


def measured(command: list[str], folder: Path) -> tuple[float, float, str]:
    """Return seconds, the peak memory of the process tree in MB, and what was printed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak, stop = [0.0], Event()
    watcher = Thread(target=_watch, args=(process.pid, peak, stop))
    watcher.start()
    out, _ = process.communicate()
    spent = time.perf_counter() - start
    stop.set()
    watcher.join()
    if process.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return spent, peak[0], out


def _watch(root: int, peak: list[float], stop: Event) -> None:
    while not stop.wait(0.05):
        peak[0] = max(peak[0], sum(map(_megabytes, _tree(root))))


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            threads = Path(f"/proc/{pid}/task").iterdir()
            children += [c for t in threads if t.name != str(pid) for c in (t / "children").read_text().split()]
        except OSError:
            continue
        found += [int(c) for c in children]
    return found


def _megabytes(pid: int) -> float:
    """Return the memory of one process; what it shares with others is divided between them."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


def names(count: int) -> list[str]:
    from torchvision import models

    return models.list_models(module=models)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--must", action="store_true", help="only do what must be done, and print the seconds")
    options = parser.parse_args()
    if options.must:
        print(json.dumps(must(json.loads(sys.stdin.read()))))
        return
    chosen = names(options.models)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "bnguard.toml").write_text(declaration(chosen), encoding="utf-8")
        check = [sys.executable, "-m", "bnguard", "check", "--format", "json"]
        measured([*check, "--entry", chosen[0]], folder)  # the disk cache is warm
        result = subprocess.run(
            [sys.executable, __file__, "--must"], input=json.dumps(chosen), capture_output=True, text=True, check=True
        )
        spent = json.loads(result.stdout)
        one, memory, document = measured([*check, "--jobs", "1"], folder)
        two, more_memory, again = measured([*check, "--jobs", "2"], folder)
    assert json.loads(document) == json.loads(again)
    needed = sum(spent.values())
    forecasts = len(json.loads(document)["forecasts"])
    parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in spent.items())
    print(f"{len(chosen)} models x {len(LOADERS)} loaders, {forecasts} forecasts, {len(sizes())} sizes each")
    print(f"what must be done: {needed:.1f} s ({parts})")
    print(f"--jobs 1: {one:.1f} s, {one / needed:.2f} of that; peak memory of the tree {memory:.0f} MB")
    print(f"--jobs 2: {two:.1f} s, {one / two:.2f} times as fast; peak memory of the tree {more_memory:.0f} MB")
    if one > MOST * needed:
        raise SystemExit(f"more than {MOST} of what must be done")


if __name__ == "__main__":
    main()
