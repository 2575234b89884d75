"""Processes that the script starts to train in: each is rehearsed, and when one has stopped, so does the script."""

from __future__ import annotations

import functools
import os
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from bnguard._preflight.recorder import Recorder

NOT_TRAINING = ("torch.utils.data", "multiprocessing", "concurrent", "joblib", "loky")
"""Modules whose processes serve others: a DataLoader's workers, pools."""

MOST_SECONDS = 60.0
"""The other processes of a training are waited for no longer than this, once one has stopped."""


class Rehearsed:
    """A process's target that runs under a rehearsal of its own; it is pickled to where the process starts."""

    def __init__(self, target: Callable[..., object], folder: Path, rehearse: Callable[..., object]) -> None:
        self.target = target
        self.folder = folder
        self.rehearse = rehearse

    def __call__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the target's own
        """Run the target, and leave what its training came to."""
        self.rehearse(lambda: self.target(*args, **kwargs), self.folder, spawned=True)


def follow_processes(stack: ExitStack, recorder: Recorder, folder: Path, rehearse: Callable[..., object]) -> None:
    """Rehearse every process that is made until the stack is closed.

    Args:
        stack: puts everything back.
        recorder: of this process.
        folder: where they leave their outcomes.
        rehearse: what they run their target with; it is pickled by its name.

    """
    make, join = vars(BaseProcess)["__init__"], vars(BaseProcess)["join"]
    started: list[BaseProcess] = []

    @functools.wraps(make)
    def make_rehearsed(self: BaseProcess, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Process's own
        target = kwargs.get("target")
        module = getattr(target, "__module__", None) or ""
        if target is not None and not module.startswith(NOT_TRAINING):
            kwargs = {**kwargs, "target": Rehearsed(target, folder, rehearse)}
            started.append(self)
        make(self, *args, **kwargs)

    @functools.wraps(join)
    def join_and_stop(self: BaseProcess, timeout: float | None = None) -> None:
        join(self, timeout)
        if os.getpid() == parent and self in started and any(folder.glob("*.outcome")):
            for other in started:
                if other.is_alive():
                    join(other, MOST_SECONDS)
            recorder.relayed = True
            recorder.stop()

    parent = os.getpid()
    for name, value in (("__init__", make_rehearsed), ("join", join_and_stop)):
        stack.callback(setattr, BaseProcess, name, vars(BaseProcess)[name])
        setattr(BaseProcess, name, value)
