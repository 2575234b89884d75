"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_NEW_FILE = 0o644


def write_whole(path: Path, data: bytes) -> None:
    """Write the file beside its place, then move it there, so that no reader ever sees half of it.

    A file that is replaced keeps its mode bits, and a link to it stays a link. What is no file, such as a pipe or
    ``/dev/null``, is written to and never replaced.

    Raises:
        OSError: the folder is missing or read-only, the disk is full; what was there before stays.

    """
    import tempfile  # not needed by a report on stdout

    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else _NEW_FILE
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(beside).chmod(mode)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
