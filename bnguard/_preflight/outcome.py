"""What a rehearsal came to, from the process it ran in to the one that asked for it."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

from bnguard._errors import BnguardError
from bnguard._facts.findings import Report

_STALE = 60.0
"""Seconds by which an outcome may be older than a rank's own start: the ranks do not start together."""

Result = Report | BnguardError


@dataclass(frozen=True)
class Outcome:
    """The report of one process, or why there is none; ``rank`` is None for the only or the main process."""

    result: Result
    rank: int | None = None


def write(folder: Path, outcome: Outcome) -> None:
    """Leave the outcome in the folder, whole or not at all; where the folder is gone nobody waits for it.

    Facts hold nothing of torch, except that the version is a text of torch's own kind: whoever reads the outcome would
    import torch for its sake.
    """
    if isinstance(outcome.result, Report) and outcome.result.torch is not None:
        outcome = replace(outcome, result=replace(outcome.result, torch=str(outcome.result.torch)))
    place = folder / f"{'main' if outcome.rank is None else outcome.rank}-{os.getpid()}"
    try:
        place.write_bytes(pickle.dumps(outcome))
        place.rename(place.with_suffix(".outcome"))
    except FileNotFoundError:
        pass


def left(folder: Path, since: float = 0.0) -> list[Path]:
    """Return the files of the outcomes of this rehearsal, which began at this time (seconds since the epoch)."""
    return [place for place in folder.glob("*.outcome") if place.stat().st_mtime >= since - _STALE]


def read(folder: Path, since: float = 0.0) -> list[Outcome]:
    """Return these outcomes, ranks in order, then the main process's.

    Only processes that were started for this rehearsal write into the folder, which nobody else may enter.
    """
    found = [pickle.loads(place.read_bytes()) for place in left(folder, since)]
    return sorted(found, key=lambda o: (o.rank is None, o.rank or 0))
