"""A pasted log or traceback → a diagnosis, from its text alone. No torch here."""

from __future__ import annotations

import codecs
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from bnguard._diagnose.classify import Classified, classify
from bnguard._diagnose.evidence import assess
from bnguard._diagnose.log_text import LoggedError, read_errors
from bnguard._diagnose.module_path import UNKNOWN, ModulePath, find_norm, in_backward, last_layer_file
from bnguard._errors import InputError
from bnguard._facts.diagnosis import Diagnosis
from bnguard._facts.models import SourceLine
from bnguard._facts.norm_kinds import BATCH, NormKind

_EXPECTED_RANK = re.compile(r"expected (2D or 3D|4D|5D) input")
_BY_EXPECTED_RANK = {"2D or 3D": "BatchNorm1d", "4D": "BatchNorm2d", "5D": "BatchNorm3d"}
_BY_DIMENSIONS = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}
_CAUGHT = re.compile(r"Caught \w+ in (replica \d+ on device \d+|DataLoader worker process \d+)")
_WORLD = re.compile(r"\bWORLD_SIZE[=: ]+(\d+)|--nproc[-_]per[-_]node[= ](\d+)")


def diagnose_text(text: str) -> Diagnosis | None:
    """Return what the text says of a failed normalisation call, or None where it holds no error at all.

    Of several errors the one that a normalisation layer raised counts, then the one whose words are known. Of several
    ranks it is the lowest; the others are named in the evidence.
    """
    errors = read_errors(text) or [LoggedError(kind="", message=text)]
    chosen = min(errors, key=_relevance)
    if not chosen.kind and classify(chosen.message).cause == "unknown":
        return None
    return _diagnose(chosen, errors, text)


def _relevance(error: LoggedError) -> tuple[bool, bool, int]:
    unknown = classify(error.message, error.kind).cause == "unknown"
    return (find_norm(error.frames) is None or unknown, unknown, error.rank or 0)


def _diagnose(error: LoggedError, errors: Sequence[LoggedError], text: str) -> Diagnosis:
    whole = _with_callers(error, errors)
    read, found = classify(error.message, error.kind), find_norm(whole.frames)
    kind = found.kind if found else None
    seen = Diagnosis(
        layer=found.path if found and found.exact and read.reliable_place else None,
        layer_type=_layer_type(error, read, kind) if found else None,
        kind=kind.name if kind else None,
        place="backward" if found is None and in_backward(whole.frames) else "text",
        shape=read.shape,
        values_per_channel=read.shape[0] * math.prod(read.shape[2:]) if read.shape else None,
        mode="train" if read.cause == "one-value-per-channel" else None,
        rank=error.rank,
        world_size=_world_size(error, text),
    )
    elsewhere = last_layer_file(whole.frames) if found is None else None
    if elsewhere and read.cause != "one-value-per-channel":  # the words of a normalisation, in another kind of layer
        read = replace(read, code=None)
    assessed = assess(seen, read)
    return replace(
        assessed,
        candidates=() if assessed.layer else _candidates(found),
        evidence=(*assessed.evidence, *_remarks(found, elsewhere), *_other_processes(error, errors)),
    )


def _with_callers(error: LoggedError, errors: Sequence[LoggedError]) -> LoggedError:
    """Put the way to an exception that was caught and chained before its own frames.

    The traceback of a cause begins where it was caught; the exception raised from it, printed below, passed the same
    function, and its frames show who called that.
    """
    if not error.frames:
        return error
    start = (error.frames[0].file, error.frames[0].function)
    for other in errors:
        if other is not error and other.rank == error.rank:
            for i, frame in enumerate(other.frames):
                if (frame.file, frame.function) == start:
                    return replace(error, frames=[*other.frames[:i], *error.frames])
    return error


def _layer_type(error: LoggedError, read: Classified, kind: NormKind | None) -> str | None:
    if kind is not None and kind is not BATCH:
        return kind.title
    expected = _EXPECTED_RANK.search(error.message)
    if expected:
        return _BY_EXPECTED_RANK[expected[1]]
    return _BY_DIMENSIONS.get(len(read.shape)) if read.shape else None


def _world_size(error: LoggedError, text: str) -> int | None:
    """Return the number of processes where the log says it: the ranks that failed need not be all."""
    match = _WORLD.search(text) if error.rank is not None else None
    return int(match[1] or match[2]) if match else None


def _candidates(found: ModulePath | None) -> tuple[str, ...]:
    """Return the name, its unknown steps included, unless it has no other."""
    return (found.path,) if found and found.path.replace(UNKNOWN, "").strip(".") else ()


def _remarks(found: ModulePath | None, elsewhere: str | None) -> Iterator[str]:
    if found and found.caller:
        caller = found.caller
        file = re.split(r"[\\/](?:site|dist)-packages[\\/]", caller.file)[-1]
        line = f": {caller.source}" if caller.source else ""
        yield f"it was called at {SourceLine(file, caller.line)}, in {caller.function}{line}"
    if any(UNKNOWN in path.split(".") for path in _candidates(found)):
        yield f"{UNKNOWN} is a step that a traceback does not name, such as the index in a Sequential"
    if elsewhere:
        yield f"the traceback ends in torch/nn/modules/{elsewhere}.py, which is no normalisation layer"
    elif found is None:
        yield "the text shows no frame of a normalisation layer; `bnguard run` sees more than a log holds"


def _other_processes(error: LoggedError, errors: Sequence[LoggedError]) -> Iterator[str]:
    for other in errors:
        caught = _CAUGHT.search(other.message)
        if caught and other.rank == error.rank:
            yield f"it was raised in {caught[1]}"
            break
    if error.rank is not None:
        yield f"the traceback is that of rank {error.rank}"
    alike = sorted({e.rank for e in errors if e.rank != error.rank and e.rank is not None and e.kind == error.kind})
    if alike:
        yield f"rank{'s' if len(alike) > 1 else ''} {', '.join(map(str, alike))} failed in the same way"


# ------------------------------------------------------------------------- reading the log, or its end, from a file


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
