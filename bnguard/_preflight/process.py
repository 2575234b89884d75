"""The process that a script runs in: how it is started, what it reads, and where what it writes goes."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

_HERE = str(Path(__file__).parents[2])
_CODE = """\
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
if {here!r} not in sys.path:
    sys.path.append({here!r})
from bnguard._preflight.child import main
main(sys.argv[1:])
"""
"""Without the working folder, where a ``random.py`` would be taken for Python's own by all that is imported here."""

_END_OF_FILE = b"\x04" * 64
"""What a terminal takes for the end of what is typed: one for each read."""

_SECONDS = 0.1
_TO_THE_END = 1.0
"""How long to wait for the rest of what was written, where a process that was left running has it still open."""


def command(arguments: Sequence[str]) -> list[str]:
    """Return the command that runs ``child.main`` with these arguments."""
    return [sys.executable, "-c", _CODE.format(here=_HERE), *arguments]


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], label: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the process at the head of a group of its own, so that all it starts can be ended with it.

    Whoever enters the block ends the process before it leaves. Stdin is a terminal where ours is one, and at its end;
    stdout is stderr, as stdout is the report's. With a ``label`` each line of both begins with it.
    """
    sys.stderr.flush()
    with ExitStack() as stack:
        process = subprocess.Popen(
            command,
            stdin=stack.enter_context(_nothing_typed()),
            stdout=2 if label is None else subprocess.PIPE,
            stderr=None if label is None else subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        if process.stdout is not None:
            relay = threading.Thread(target=_relay, args=(process.stdout, label), daemon=True)
            relay.start()
            stack.callback(relay.join, _TO_THE_END)
        yield process


def _relay(stream: IO[bytes], label: str | None) -> None:
    """Write each line to stderr behind the label; of a progress bar, which writes over itself, what stands at last."""
    with stream, suppress(OSError):
        for line in stream:
            text = line.rstrip(b"\r\n").rpartition(b"\r")[2]
            os.write(2, f"{label} | ".encode() + text + b"\n")


@contextmanager
def _nothing_typed() -> Iterator[int]:
    """Yield a terminal of the size of ours, at which nothing is typed but the end, or where we have none, no input."""
    try:
        terminal = _terminal() if os.isatty(0) else None
    except (ImportError, OSError):  # Windows, or no terminal to be had
        terminal = None
    if terminal is None:
        yield subprocess.DEVNULL
        return
    ours, theirs = terminal
    ended = threading.Event()
    feed = threading.Thread(target=_feed, args=(ours, theirs, ended), daemon=True)
    feed.start()
    try:
        yield theirs
    finally:
        ended.set()
        feed.join()
        os.close(ours)
        os.close(theirs)


def _terminal() -> tuple[int, int]:
    """Return both ends of a new terminal of the size of that on our stdin; what is typed is not shown again."""
    import fcntl
    import termios

    ours, theirs = os.openpty()
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    mode = termios.tcgetattr(theirs)
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    return ours, theirs


def _feed(ours: int, theirs: int, ended: threading.Event) -> None:
    """Type the end whenever nothing is left to read: each read takes one, and who asks for a password drops all."""
    while not ended.is_set():
        if not select.select([theirs], [], [], 0)[0]:
            os.write(ours, _END_OF_FILE)
        ended.wait(_SECONDS)
