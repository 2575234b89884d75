"""Writing to stdout, which may be closed, full, or of an encoding that the format does not allow."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bnguard._errors import UsageError

_HINT = "print to a file or a pipe that can be written"


def write(text: str) -> None:
    """Print a document as UTF-8, whatever the terminal's encoding: formats for programs say so, or assume it.

    Raises:
        UsageError: stdout is closed or full.

    """
    with checked():
        binary = getattr(sys.stdout, "buffer", None)
        if binary is None:
            sys.stdout.write(text)
        else:
            sys.stdout.flush()
            binary.write(text.encode(errors="replace"))


@contextmanager
def checked() -> Iterator[None]:
    """Flush what is printed inside, so that a disk that is full is noticed while there is somebody to tell.

    A reader that goes away, as in ``bnguard … | head``, has what it wanted: what is left is dropped without a word.

    Raises:
        UsageError: stdout is closed or full.

    """
    if sys.stdout is None or sys.stdout.closed:
        raise UsageError("there is no stdout to print to", hint=_HINT)
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
    except OSError as error:
        silence()
        raise UsageError(f"cannot write to stdout: {error.strerror or error}", hint=_HINT) from error


def silence() -> None:
    """Let nothing more arrive on stdout, so that Python does not fail at its end over what is left to write."""
    with suppress(OSError, ValueError):  # not a file of the system's, as in a notebook
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
