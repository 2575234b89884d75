"""Keeping stdout for the report: what the user's code writes there, down to its file descriptor, goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stdout_set_aside() -> Iterator[int]:
    """Within the block file descriptor 1 is stderr; yield a descriptor of what it was before."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield kept
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
