"""What a folder holds, to compare it before and after, and scripts run in a sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bnguard._sandbox.box import Sandbox

ROOT = str(Path(__file__).parents[2])
WAYS = ("overlay", "journal")


def write(folder: Path, text: str, name: str = "train.py") -> Path:
    """Write a script of a few lines."""
    script = folder / name
    script.write_text(textwrap.dedent(text), encoding="utf-8")
    return script


@dataclass
class Ran:
    """What a run came to."""

    box: Sandbox
    code: int | None
    output: str
    cwd: Path

    @property
    def left_out(self) -> dict[str, str]:
        """What was written, below the working folder."""
        return {
            os.path.relpath(left.path, self.cwd): left.what
            for left in self.box.left_out
            if Path(left.path).is_relative_to(self.cwd)
        }

    def left(self, name: str) -> Any:
        """What is told of one file."""
        return next(left for left in self.box.left_out if left.path == str(self.cwd / name))


def run(script: Path, cwd: Path, *args: str, kill_at: Path | None = None, **how: Any) -> Ran:
    """Run a script in a sandbox; with ``kill_at`` it and all that it started are killed once that file is there."""
    paths = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    # a file and not a pipe: what the script leaves running would hold that
    with tempfile.TemporaryFile() as said, Sandbox(cwd, script=script, **how) as box:
        argv, env = box.command([sys.executable, str(script), *args], env)
        process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        if kill_at is not None:
            while process.poll() is None and not kill_at.exists():
                time.sleep(0.002)
            assert process.poll() is None, process.returncode
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        said.seek(0)
        output = said.read().decode()
    wanted = how.get("way")
    if wanted == "overlay" and box.way != wanted:
        pytest.skip(f"no overlay here: {box.notes}")
    return Ran(box, process.returncode, output, cwd)
