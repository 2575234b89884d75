"""Jobs in parallel processes: a process serves many of them, and one that dies takes no result of another with it."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from bnguard._check.jobs import Done, Job
from bnguard._facts.findings import Problem

_TICK = 0.1
_SECONDS_TO_END = 3.0
"""How long a script may take for its way out after an interrupt."""


def cores() -> int:
    """Return how many CPU cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def in_parallel(jobs: Sequence[Job], folder: Path, processes: int, tell: Callable[[], None]) -> list[Done]:
    """Carry out jobs in worker processes; return what became of them in the order of the jobs.

    ``tell`` is called when a job is done.
    """
    count = min(processes, len(jobs))
    pool = _Pool(folder, count)
    with ThreadPoolExecutor(max(count, 1)) as threads:
        try:
            pending = futures = [threads.submit(pool.carry_out, job) for job in jobs]
            while pending:
                finished, left = wait(pending, timeout=_TICK, return_when=FIRST_COMPLETED)
                pool.end_leftovers()
                for _ in finished:
                    tell()
                pending = list(left)
            return [future.result() for future in futures]
        except BaseException:  # an interrupt: end everything at once, so that the threads come to their end too
            for future in futures:
                future.cancel()
            pool.kill()
            raise
        finally:
            pool.close()


class _WorkerError(Exception):
    """An error of ours in a worker process; the message holds its traceback."""


class _Pool:
    """The worker processes. A job takes a free one, or starts one; it gives it back, if it is still alive."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._threads = max(1, cores() // max(count, 1))
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: list[_Worker] = []
        self._closed = False

    def carry_out(self, job: Job) -> Done:
        worker = self._take()
        done = worker.carry_out(job)
        if done is None:
            return Done(problems=(_died(job, worker.ended()),))
        self._free.put(worker)
        return done

    def _take(self) -> _Worker:
        with suppress(queue.Empty):
            return self._free.get_nowait()
        worker = _Worker(self._folder, self._threads)
        self._all.append(worker)
        if self._closed:
            worker.kill()
        return worker

    def end_leftovers(self) -> None:
        """End what dead workers have left running: it holds their pipes open, and somebody waits there."""
        for worker in self._all:
            worker.end_group()

    def kill(self) -> None:
        self._closed = True
        for worker in self._all:
            worker.kill()

    def close(self) -> None:
        """Let the workers end, which have nothing left to do."""
        self._closed = True
        for worker in self._all:
            worker.close()


class _Worker:
    """One process, in a group of its own: an interrupt at the terminal reaches it by its parent alone."""

    def __init__(self, folder: Path, threads: int) -> None:
        path = [os.path.abspath(p) for p in sys.path]  # noqa: PTH100 - '' is the working folder
        code = f"import sys; sys.path[:] = {path!r}; from bnguard._check.worker import main; main({threads})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            start_new_session=True,
        )
        self._has_script = False
        self._group_ended = False

    def carry_out(self, job: Job) -> Done | None:
        """Return what became of the job; None where the process has died of it."""
        self._has_script = job.script is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(job, self._process.stdin)
            self._process.stdin.flush()
            done: Any = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):  # the pipe was broken, perhaps in the middle of a result
            return None
        if not isinstance(done, Done):
            raise _WorkerError(f"a worker process failed:\n{done}")
        return done

    def ended(self) -> int:
        """Return the exit code of a process that has died."""
        code = self._process.wait()
        self.end_group()
        return code

    def end_group(self) -> None:
        """End the rest of the group, once, if the process itself has ended."""
        if not self._group_ended and self._process.poll() is not None:
            self._group_ended = True
            self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    def kill(self) -> None:
        """End the process and what it has started; a script's process gets the time to end its own."""
        if self._has_script and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_SECONDS_TO_END)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.end_group()

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:  # a thread of the user's code keeps it
            self._process.kill()
            self._process.wait()
        self.end_group()

    def _signal(self, number: int) -> None:
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


def _died(job: Job, code: int) -> Problem:
    if code < 0:
        how, hint = f"was killed by {_name(-code)}", "memory ran out, or a compiled part of its code failed"
    else:
        how, hint = f"ended with exit code {code}", "its code must not end the process itself, as os._exit does"
    return Problem(job.entry, f"its process {how} before there was a result", hint)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
