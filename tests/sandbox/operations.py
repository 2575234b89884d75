"""Random file operations, as data, and what does them and looks at the result; with the standard library alone."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

from bnguard._sandbox import child, overlay
from bnguard._sandbox.box import Sandbox

NAMES = ("a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "d/e/b", "f", "f/a", "f/e/a", "link", "link/a")
TEXTS = ("", "short", "long " * 50)
MODES = ("w", "a", "r+", "x", "w+", "a+")
PERMISSIONS = (0o600, 0o644, 0o755, 0o700, 0o400, 0o500, 0)
OF_ONE = ("remove", "rmdir", "mkdir", "makedirs", "rmtree")
OF_TWO = ("rename", "replace", "move", "link", "symlink", "copy", "copytree")
UNREADABLE = "unreadable"

Operation = tuple[Any, ...]


def any_operation(chance: random.Random) -> Operation:
    """Draw an operation, without Hypothesis."""
    path, other = chance.choice(NAMES), chance.choice(NAMES)
    if chance.random() < 0.35:  # renames, some of which fail, are the hardest to follow
        return (chance.choice(("rename", "replace", "move")), path, other)
    return chance.choice(
        [
            ("write", path, chance.choice(MODES), chance.choice(TEXTS)),
            (chance.choice(OF_ONE), path),
            (chance.choice(OF_TWO), path, other),
            ("chmod", path, chance.choice(PERMISSIONS)),
            ("utime", path, chance.randrange(10**9)),
            ("truncate", path, chance.randrange(9)),
            ("fork", path, chance.choice(TEXTS)),
        ]
    )


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Every entry with its mode, content or target, time of change, and number of names."""
    found = {}
    paths = [folder, *(Path(place, name) for place, below, files in os.walk(folder) for name in (*below, *files))]
    for path in paths:
        seen = path.lstat()
        content: object = None
        if stat.S_ISLNK(seen.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(seen.st_mode):
            content = path.read_bytes() if os.access(path, os.R_OK) else UNREADABLE
        names = None if stat.S_ISDIR(seen.st_mode) else seen.st_nlink
        found[os.path.relpath(path, folder)] = (stat.filemode(seen.st_mode), content, seen.st_mtime_ns, names)
    return found


def age(folder: Path) -> None:
    """Have everything in a folder last changed long ago, each entry at a time of its own."""
    for number, path in enumerate([*sorted(folder.rglob("*"), reverse=True), folder]):
        os.utime(path, ns=(0, 10**18 + number * 1_000_000_007), follow_symlinks=False)


def do(one: Operation) -> None:
    """Do an operation in the working folder; what cannot be done is left."""
    what, path, *more = one
    acts: dict[str, Any] = {
        "write": lambda: _write(path, *more),
        "remove": lambda: os.remove(path),
        "rmdir": lambda: os.rmdir(path),
        "mkdir": lambda: os.mkdir(path),
        "makedirs": lambda: os.makedirs(path, exist_ok=True),
        "rmtree": lambda: shutil.rmtree(path),
        "rename": lambda: os.rename(path, *more),
        "replace": lambda: os.replace(path, *more),
        "move": lambda: shutil.move(path, *more),
        "link": lambda: os.link(path, *more),
        "symlink": lambda: os.symlink(os.path.abspath(path), *more),
        "copy": lambda: shutil.copy2(path, *more),
        "copytree": lambda: shutil.copytree(path, *more, symlinks=True),
        "chmod": lambda: os.chmod(path, *more),
        "utime": lambda: os.utime(path, (more[0], more[0])),
        "truncate": lambda: os.truncate(path, *more),
        "fork": lambda: _in_a_child(path, *more),
    }
    with contextlib.suppress(OSError, shutil.Error, RecursionError):
        acts[what]()


def _write(path: str, mode: str, text: str) -> None:
    with open(path, mode) as file:
        file.write(text)


def _in_a_child(path: str, text: str) -> None:
    process = os.fork()
    if process == 0:
        with contextlib.suppress(OSError):
            _write(path, "w", text)
        os._exit(0)
    os.waitpid(process, 0)


def run_forked(box: Sandbox, cwd: Path, ops: list[Operation], way: str, killed_after: int | None) -> None:
    """Do operations in a forked process in the sandbox: as ``command`` would start it, without a new Python."""
    state = Path(box.command([], {})[1][child.VARIABLE])
    process = os.fork()
    if process:
        os.waitpid(process, 0)
        return
    try:
        os.chdir(cwd)
        os.environ[child.VARIABLE] = str(state)
        if way == "overlay":
            plan = json.loads((state / "plan.json").read_text())
            covered, through = overlay.enter(str(state), plan)
            (state / "way.json").write_text(json.dumps({"way": way, "covered": covered, "through": through}))
        child.setup()
        for number, one in enumerate(ops):
            if number == killed_after:
                os.kill(os.getpid(), signal.SIGKILL)
            do(one)
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
