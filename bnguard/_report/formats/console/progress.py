"""A progress line on stderr for the few things that may take a while."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SILENT_SECONDS = 0.5
"""Short counts leave no trace."""

_FEWEST = 4
"""Of fewer things nothing is shown."""


@contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Yield a function that shows how much is done, and of how much where that is known; stderr must be a terminal.

    Args:
        what: in words, such as ``looking at batch indices``.
        quiet: show nothing at all.

    """
    if quiet or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), TextColumn("{task.fields[count]}"), TimeElapsedColumn())
    line = Progress(*columns, console=Console(stderr=True), transient=True)
    task = line.add_task(what, total=None, count="")
    start = time.monotonic()

    def show(done: int, total: int | None = None) -> None:
        worth_it = time.monotonic() - start >= _SILENT_SECONDS if total is None else total >= _FEWEST
        if worth_it:
            line.start()
            line.update(task, completed=done, total=total, count=f"{done:,}" + (f"/{total:,}" if total else ""))

    try:
        yield show
    finally:
        line.stop()
