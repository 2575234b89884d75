"""A proposal as a unified diff that ``git apply`` and ``patch -p1`` take."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnguard.edit.proposal import Proposal


def unified_diff(proposal: Proposal) -> bytes:
    """Return the diff in the bytes of the file, so that it applies whatever its encoding and line endings are.

    There is no ``diff --git`` line: git then takes the path as relative to the folder it is called in, and not to the
    root of the repository. A file that is not below the working folder is named from the root of the disk.
    """
    old, new = (_lines(data) for data in (proposal.source.data, proposal.new_data))
    path = os.fsencode(_shown(proposal.source.real))
    before, after = _quoted(b"a/" + path), _quoted(b"b/" + path)
    return b"".join(_ended(difflib.diff_bytes(difflib.unified_diff, old, new, before, after)))


def is_below_here(real: Path) -> bool:
    """Whether a file lies below the working folder, so that tools which are called there find it."""
    return real.is_relative_to(os.path.realpath(os.curdir))


def _shown(real: Path) -> str:
    path = real.relative_to(os.path.realpath(os.curdir)) if is_below_here(real) else real
    return path.as_posix().lstrip("/")


def _lines(data: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _ended(diff: Iterator[bytes]) -> Iterator[bytes]:
    for line in diff:
        yield line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"


def _quoted(path: bytes) -> bytes:
    """Quote a path as git does where it must; a blank in it asks for a tab behind it."""
    if any(c in path for c in b'"\\\n\t\r'):
        escapes = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\t": b"\\t", b"\r": b"\\r"}
        for plain, escaped in escapes.items():
            path = path.replace(plain, escaped)
        return b'"' + path + b'"'
    return path + b"\t" if b" " in path else path
