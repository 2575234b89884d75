"""What does `bnguard check` cost beyond what must be done? 50 torchvision models, 4 loaders each, one process tree.

First what must be done is measured in a process of its own: importing torch and torchvision, building each model once
without weights, and following its forward once at each distinct batch size and mode. Then ``bnguard check --jobs 1`` of
the same declaration is timed, and ``--jobs 2``; the peak memory is that of all processes of the tree at one time.

    python benchmarks/check.py              # about 2 minutes on two cores
    python benchmarks/check.py --models 10
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

MOST = 1.3
"""The check may take this much of the sum of what must be done."""

LOADERS = {"train": (50_001, 50), "small": (1_000, 48), "val": (10_000, 100), "test": (777, 97)}
"""Samples and batch size; train and test end with a batch of one sample; val and test run in eval mode."""

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


class Spent(NamedTuple):
    """Seconds on the clock, and seconds of computing: on a busy machine only the latter are the program's own."""

    clock: float
    computing: float

    @classmethod
    def now(cls) -> Spent:
        """Return the two clocks of this process."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, start: Spent) -> Spent:
        """Return what has passed."""
        return Spent(self.clock - start.clock, self.computing - start.computing)

    def plus(self, other: Spent) -> Spent:
        """Return both together."""
        return Spent(self.clock + other.clock, self.computing + other.computing)


def must(models: list[str]) -> dict[str, Spent]:
    """Do in this process what cannot be done without; return what each part took."""
    start = Spent.now()
    from bnguard._import_torch import import_torch

    import_torch()
    import torchvision.models  # noqa: F401

    from bnguard._forecast import request  # noqa: F401 - our own modules are a part of it
    from bnguard._models.inputs import SpecInputs, parse_input
    from bnguard._trace.models import open_models

    spent = {"import": Spent.now().since(start), "build": Spent(0, 0), "trace": Spent(0, 0)}
    for name in models:
        start = Spent.now()
        with open_models(f"torchvision.models:{name}", mode="train", device="cuda") as built:
            (model,) = built
            spent["build"] = spent["build"].plus(Spent.now().since(start))
            start = Spent.now()
            inputs = SpecInputs((parse_input(_image(name)),), "given")
            for mode, size in sizes():
                model.tracer.set_mode("train" if mode == "train" else "eval")
                model.tracer.best_trace(inputs, size, lambda _: None)
            spent["trace"] = spent["trace"].plus(Spent.now().since(start))
    return spent


def timed(command: list[str], folder: Path, given: str = "") -> tuple[Spent, str]:
    """Return what a command and its processes took, and what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, check=False)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return Spent(clock, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime), done.stdout


def peak_memory(command: list[str], folder: Path) -> float:
    """Return the most memory, in MB, that all processes of a command held at one time."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak, stop = [0.0], Event()
    watcher = Thread(target=_watch, args=(process.pid, peak, stop))
    watcher.start()
    process.wait()
    stop.set()
    watcher.join()
    return peak[0]


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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--must", action="store_true", help="only do what must be done, and print the seconds")
    options = parser.parse_args()
    if options.must:
        print(json.dumps(must(json.loads(sys.stdin.read()))))
        return
    chosen = names(options.models)
    with tempfile.TemporaryDirectory() as place:
        compare(chosen, Path(place), options.rounds)


def compare(chosen: list[str], folder: Path, rounds: int) -> None:
    """Time the three in turn, the best of some rounds each, since other work on the machine only ever adds."""
    (folder / "bnguard.toml").write_text(declaration(chosen), encoding="utf-8")
    check = [sys.executable, "-m", "bnguard", "check", "--format", "json", "--jobs"]
    needed: list[dict[str, Spent]] = []
    spent: dict[str, list[Spent]] = {"1": [], "2": []}
    documents: list[str] = []
    for _ in range(rounds):
        _, told = timed([sys.executable, str(Path(__file__).resolve()), "--must"], folder, json.dumps(chosen))
        needed.append({part: Spent(*seconds) for part, seconds in json.loads(told).items()})
        for jobs, times in spent.items():
            seconds, document = timed([*check, jobs], folder)
            times.append(seconds)
            documents.append(document)
    assert len(set(documents)) == 1, "the report depends on the number of processes"
    total = Spent(*(min(sum(x[i] for x in parts.values()) for parts in needed) for i in (0, 1)))
    one, two = (Spent(*(min(x[i] for x in spent[jobs]) for i in (0, 1))) for jobs in spent)
    forecasts = len(json.loads(documents[0])["forecasts"])
    memory = {jobs: peak_memory([*check, jobs], folder) for jobs in spent}
    parts = ", ".join(f"{part} {seconds.computing:.1f} s" for part, seconds in needed[-1].items())
    print(f"{len(chosen)} models x {len(LOADERS)} loaders, {forecasts} forecasts, {len(sizes())} sizes each")
    print(f"what must be done: {total.computing:.1f} s of computing, {total.clock:.1f} s on the clock ({parts})")
    for jobs, took in (("1", one), ("2", two)):
        print(
            f"--jobs {jobs}: {took.computing:.1f} s of computing ({took.computing / total.computing:.2f} of that), "
            f"{took.clock:.1f} s on the clock ({took.clock / total.clock:.2f}); "
            f"peak memory of the tree {memory[jobs]:.0f} MB"
        )
    print(f"two processes are {one.clock / two.clock:.2f} times as fast as one")
    if one.computing > MOST * total.computing:
        raise SystemExit(f"more than {MOST} of what must be done")


if __name__ == "__main__":
    main()
