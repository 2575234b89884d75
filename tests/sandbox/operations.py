"""Random file operations, as data: what Hypothesis draws, and what does them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from bnguard._sandbox import child, overlay
from bnguard._sandbox.box import Sandbox

NAMES = ("a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "d/e/b", "f", "f/a", "f/e/a", "link", "link/a")
paths = st.sampled_from(NAMES)
texts = st.sampled_from(("", "short", "long " * 50))

Operation = tuple[Any, ...]

operation = st.one_of(
    st.tuples(st.just("write"), paths, st.sampled_from(("w", "a", "r+", "x", "w+", "a+")), texts),
    st.tuples(st.sampled_from(("remove", "rmdir", "mkdir", "makedirs", "rmtree")), paths),
    st.tuples(st.sampled_from(("rename", "replace", "move", "link", "symlink", "copy", "copytree")), paths, paths),
    st.tuples(st.just("chmod"), paths, st.sampled_from((0o600, 0o644, 0o755, 0o700, 0o400))),
    st.tuples(st.just("utime"), paths, st.integers(0, 10**9)),
    st.tuples(st.just("truncate"), paths, st.integers(0, 9)),
    st.tuples(st.just("fork"), paths, texts),
)
operations = st.lists(operation, max_size=12)

beginnings = st.lists(
    st.one_of(
        st.tuples(st.just("write"), paths, st.just("w"), texts),
        st.tuples(st.just("makedirs"), st.sampled_from(("d/e", "d", "f", "f/e"))),
        st.tuples(st.sampled_from(("link", "symlink")), paths, paths),
    ),
    max_size=10,
)


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
