"""What a folder holds, to compare it before and after, and scripts run in a sandbox."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from bnguard._sandbox import Sandbox

ROOT = str(Path(__file__).parents[2])


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Every entry with its mode, its content, its target, and its time."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in [".", *folders, *files] if place == str(folder) else [*folders, *files]:
            path = os.path.join(place, name)
            seen = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(seen.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(seen.st_mode):
                content = read(path)
            found[os.path.relpath(path, folder)] = (stat.filemode(seen.st_mode), content, seen.st_mtime_ns, seen.st_nlink)
    return found


def read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except PermissionError:
        mode = os.stat(path).st_mode
        os.chmod(path, 0o600)
        try:
            return Path(path).read_bytes()
        finally:
            os.chmod(path, stat.S_IMODE(mode))


def command(script: str | Path) -> list[str]:
    return [sys.executable, str(script)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1", **more}


def write(folder: Path, text: str, name: str = "script.py") -> Path:
    script = folder / name
    script.write_text(textwrap.dedent(text), encoding="utf-8")
    return script


def run(script: Path, cwd: Path, *, killed_at: Path | None = None, **how: object) -> tuple[Sandbox, str]:
    """Run a script in a sandbox; or kill it and all that it started once a file in ``shared`` is there."""
    with Sandbox(cwd, script=script, **how) as box:
        argv, env = box.command(command(script), environment())
        process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        if killed_at is None:
            output, _ = process.communicate(timeout=120)
            box.code = process.returncode
        else:
            while not killed_at.exists() and process.poll() is None:
                time.sleep(0.005)
            assert process.poll() is None, process.communicate()
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            killed_at.unlink()
    return box, output


def left_out(box: Sandbox, cwd: Path) -> dict[str, str]:
    return {os.path.relpath(left.path, cwd): left.what for left in box.left_out}
