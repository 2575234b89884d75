"""A process that carries out jobs: they come pickled on stdin, and what became of them leaves so on stdout."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any, BinaryIO

from bnguard._check.work import carry_out
from bnguard._untouched import stdout_set_aside


def main(threads: int) -> None:
    """Carry out jobs until stdin ends; torch may use so many threads, lest workers wait for each other."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a script's processes are ended too
    jobs, nothing = os.fdopen(os.dup(0), "rb"), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # the user's code finds nothing to read
    with stdout_set_aside() as out, os.fdopen(out, "wb", closefd=False) as results, suppress(KeyboardInterrupt):
        _serve(jobs, results, threads)


def _serve(jobs: BinaryIO, results: BinaryIO, threads: int) -> None:
    while True:
        try:
            job = pickle.load(jobs)
        except EOFError:
            return
        done: Any
        try:
            done = carry_out(job)
        except Exception:  # noqa: BLE001 - the parent raises it again
            done = traceback.format_exc()
        _limit(threads)
        pickle.dump(done, results)
        results.flush()


def _limit(threads: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > threads:
        torch.set_num_threads(threads)
