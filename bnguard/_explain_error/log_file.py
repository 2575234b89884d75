"""The log, or its end, from a file or standard input."""

from __future__ import annotations

import codecs
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bnguard._errors import InputError

MOST = 8 * 2**20
"""Bytes that are read: an error stands at the end of a log."""

_CHUNK = 2**20

_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
"""PowerShell's ``>`` writes UTF-16."""


@dataclass(frozen=True)
class _Log:
    """The text, what to call it, and whether it is only the last part of a larger one."""

    name: str
    text: str
    cut: bool


def read_log(file: str) -> _Log:
    """Read a file, or standard input for ``-``.

    Raises:
        InputError: it cannot be read, is empty, is no text, or is a terminal with nothing piped in.

    """
    if file == "-":
        if sys.stdin is None or sys.stdin.isatty():
            hint = "bnguard explain-error train.log, or: python train.py 2>&1 | bnguard explain-error"
            raise InputError("no log is given", hint=hint)
        return _read("standard input", sys.stdin.buffer)
    if Path(file).is_dir():
        raise InputError(f"{file} is a folder", hint="give a file, or pipe the log in")
    try:
        with Path(file).open("rb") as stream:
            return _read(file, stream)
    except OSError as error:
        hint = "give the log's path, or - and pipe it in"
        raise InputError(f"cannot read {file}: {error.strerror or error}", hint=hint) from error


def _read(name: str, stream: IO[bytes]) -> _Log:
    start = stream.read(2)
    last, cut = _last_part(start, stream)
    text = last.decode(_BYTE_ORDER_MARKS.get(start, "utf-8"), "replace").removeprefix("\ufeff")
    if not text.strip():
        raise InputError(f"{name} is empty", hint="paste the traceback with its last line")
    sample = text[: 2**16]
    if "\0" in sample or sample.count("\ufffd") > len(sample) // 10:
        raise InputError(f"{name} is not text", hint="give what the training printed, not a checkpoint or an archive")
    return _Log(name, text.partition("\n")[2] if cut else text, cut)


def _last_part(start: bytes, stream: IO[bytes]) -> tuple[bytes, bool]:
    """Return the last bytes, at most ``MOST`` and a chunk of them, however long the stream is."""
    kept = [start]
    size, cut = len(start), False
    while chunk := stream.read(_CHUNK):
        kept.append(chunk)
        size += len(chunk)
        while size - len(kept[0]) >= MOST:
            size -= len(kept.pop(0))
            cut = True
    return b"".join(kept), cut
