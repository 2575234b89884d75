"""Runs scripts for real and preflights them, each in a process that is forked off: python each.py SCRIPT…

Prints one JSON object: by the script's name what really happened (see ``training/harness.py``) and what preflight says.
Importing torch once is what makes a hundred scripts affordable; everything else is as it is on the command line.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision  # noqa: F401 - and whatever it imports, before the processes are forked off

import bnguard
from bnguard._preflight import child, conclude, launch, outcome, passes, patches  # noqa: F401
from bnguard._preflight.outcome import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import harness

torch.set_num_threads(1)


def apart(run: Callable[[], object]) -> None:
    """Run something in a process of its own that prints nothing."""
    pid = os.fork()
    if pid == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        try:
            run()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def really(script: Path) -> Any:
    place = Path(tempfile.mkdtemp()) / "outcome"

    def run() -> None:
        sys.argv = ["harness.py", str(place), str(script)]
        harness.main()

    apart(run)
    return json.loads(place.read_text(encoding="utf-8")) if place.exists() else "it raised by itself"


def attempt(
    program: Sequence[str], settings: Settings, deadline: float, timeout: float, *, keep: bool, label: str | None = None
) -> tuple[list[outcome.Outcome], dict[str, Any]]:
    folder = tempfile.mkdtemp()
    apart(lambda: child.main([folder, settings.as_text(), *program]))
    return outcome.read(Path(folder)), {}


def foreseen(script: Path) -> Any:
    # long epochs stand for those of real trainings, which no time that is left would do for
    passes.SHARE = 0.0 if script.stem.startswith(("long", "gathered")) else 0.5
    began = time.monotonic()
    options = dict(line.split("=") for line in script.read_text("utf-8").splitlines()[0].removeprefix("# ").split())
    try:
        report = bnguard.preflight(script, budget=float(options.get("budget", 30)), timeout=100)
    except bnguard.BnguardError as error:
        return {"error": error.message}
    return {**report.to_dict(), "seconds": time.monotonic() - began}


if __name__ == "__main__":
    launch._attempt = attempt
    print(json.dumps({Path(s).stem: [really(Path(s)), foreseen(Path(s))] for s in sys.argv[1:]}))
