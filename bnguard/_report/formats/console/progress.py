"""A progress line on stderr for the few things that may take a while."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def counter(what: str, *, quiet: bool = False, after: float = 0.5) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows how far a count has come; nothing appears before ``after`` seconds.

    Args:
        what: in words, such as ``looking at batch indices``.
        quiet: show nothing at all, as where stderr is no terminal.
        after: seconds of silence at the start, so that short work leaves no trace.

    """
    if quiet or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn(what), TextColumn("{task.completed:,.0f}"), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)
    start = time.monotonic()

    def show(done: int) -> None:
        if time.monotonic() - start >= after:
            bar.start()
            bar.update(task, completed=done)

    try:
        yield show
    finally:
        bar.stop()


@contextmanager
def bar(what: str, *, quiet: bool = False, fewest: int = 4) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how many of how many things are done.

    Args:
        what: in words, such as ``checking``.
        quiet: show nothing at all, as where stderr is no terminal.
        fewest: of fewer things nothing is shown.

    """
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = Progress(*columns, console=Console(stderr=True), transient=True)
    task = shown.add_task(what, total=None)

    def show(done: int, total: int) -> None:
        if total >= fewest:
            shown.start()
            shown.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        shown.stop()
