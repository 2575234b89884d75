"""From the errors of a log to the one that counts, and to its diagnosis."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bnguard._diagnose.classify import Classified, classify
from bnguard._diagnose.evidence import assess
from bnguard._diagnose.log_lines import plain_text
from bnguard._diagnose.log_text import Frame, LoggedError, read_errors
from bnguard._diagnose.module_path import (
    UNKNOWN,
    ModulePath,
    Operation,
    find_norm,
    in_backward,
    norm_in_backward,
    other_operation,
)
from bnguard._explain_error.buffers import buffers_of_ddp
from bnguard._explain_error.situation import pasted_in, situation_in
from bnguard._facts.diagnosis import Diagnosis
from bnguard._facts.models import SourceLine
from bnguard._facts.norm_kinds import BATCH, GROUP, KINDS

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
    plain = plain_text(text)
    errors = read_errors(text) or [LoggedError(kind="", message=plain)]
    chosen = min(errors, key=_relevance)
    if not chosen.kind and classify(chosen.message).cause == "unknown":
        return None
    return _diagnose(chosen, errors, plain)


def frames_of(text: str) -> list[Frame]:
    """Return the frames of the error that :func:`diagnose_text` tells of, and of who called it."""
    errors = read_errors(text)
    return _with_callers(min(errors, key=_relevance), errors).frames if errors else []


def _relevance(error: LoggedError) -> tuple[bool, bool, int]:
    unknown = classify(error.message, error.kind).cause == "unknown"
    return (find_norm(error.frames) is None or unknown, unknown, error.rank or 0)


def _diagnose(error: LoggedError, errors: Sequence[LoggedError], text: str) -> Diagnosis:
    whole = _with_callers(error, errors)
    read, found = classify(error.message, error.kind), find_norm(whole.frames)
    if read.cause == "overwritten-in-place":
        return buffers_of_ddp(read, text, rank=error.rank)
    kind = found.kind.name if found and found.kind else read.kind
    shape = None if kind == GROUP.name else read.shape  # GroupNorm's check prints the shape of its own view
    is_norm = found is not None or read.names_norm or norm_in_backward(text)
    other = None if is_norm else other_operation(whole.frames, text)
    seen = Diagnosis(
        layer=found.path if found and found.exact and read.reliable_place else None,
        layer_type=_layer_type(error, read, kind) if found or kind else None,
        kind=kind,
        place="backward" if found is None and in_backward(whole.frames) else "text",
        shape=shape,
        values_per_channel=shape[0] * math.prod(shape[2:]) if shape else None,
        batch_statistics=True if read.cause == "one-value-per-channel" else None,
        rank=error.rank,
        world_size=_world_size(error, text),
        situation=situation_in(text, whole.frames, one_sample=_got_one_sample(read)),
        suspected=not is_norm and other is None and read.code is not None,
    )
    if other:
        read = replace(read, code=None)
    assessed = assess(seen, read, pasted_in(text, whole.frames, other))
    return replace(
        assessed,
        candidates=() if assessed.layer else _candidates(found),
        evidence=(*assessed.evidence, *_remarks(found, other, assessed), *_other_processes(error, errors)),
    )


def _got_one_sample(read: Classified) -> bool:
    """Whether the words are those of a call with one sample; InstanceNorm refuses one position in any batch."""
    return read.shape[:1] == (1,) if read.shape else read.cause == "one-value-per-channel"


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


def _layer_type(error: LoggedError, read: Classified, kind: str | None) -> str | None:
    if kind is not None and kind != BATCH.name:
        return KINDS[kind].title
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


def _remarks(found: ModulePath | None, other: Operation | None, d: Diagnosis) -> Iterator[str]:
    if found and found.caller:
        caller = found.caller
        file = re.split(r"[\\/](?:site|dist)-packages[\\/]", caller.file)[-1]
        line = f": {caller.source}" if caller.source else ""
        yield f"it was called at {SourceLine(file, caller.line)}, in {caller.function}{line}"
    if any(UNKNOWN in path.split(".") for path in _candidates(found)):
        yield f"{UNKNOWN} is a step that a traceback does not name, such as the index in a Sequential"
    if other:
        yield f"the text shows {other.text}, and no normalisation layer"
    elif d.suspected:
        yield "any layer can fail with these words, and the text shows none; `bnguard run` sees more than a log holds"
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
