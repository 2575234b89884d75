"""A folder before and after: what no hook has seen, because it was written in C, in Rust, or by another program."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MOST_ENTRIES = 300_000
"""Entries that are listed at most: about a second."""

NOT_LISTED = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__"})
_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})
"""What a folder holds that is an environment of Python packages."""

Seen = tuple[int, int, int]
"""Mode, size, and the time of the last change in nanoseconds."""


@dataclass
class Listing:
    """Every entry of the folders ``given``; ``complete`` unless there were too many."""

    given: list[str]
    entries: dict[str, Seen] = field(default_factory=dict)
    complete: bool = True


@dataclass
class Compared:
    """What differs between two listings; ``folders`` are those whose times alone do."""

    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def listed(folders: Iterable[str]) -> Listing:
    """List folders with all that is in them, but environments, the stores of version control and ``node_modules``."""
    given = [folder for folder in folders if os.path.isdir(folder)]
    found, waiting = Listing(given), list(given)
    for folder in given:
        found.entries[folder] = _seen(os.lstat(folder))
    while waiting:
        folder = waiting.pop()
        below = _entries(folder)
        if folder not in given and not _MARKS.isdisjoint(below):
            continue
        for entry in below.values():
            try:
                seen = _seen(entry.stat(follow_symlinks=False))
            except OSError:  # somebody has just removed it
                continue
            if stat.S_ISDIR(seen[0]):
                if entry.name in NOT_LISTED or entry.path in found.entries:
                    continue
                waiting.append(entry.path)
            found.entries[entry.path] = seen
        if len(found.entries) > MOST_ENTRIES:
            found.complete = False
            break
    return found


def write(place: Path, listing: Listing) -> None:
    """Keep a listing for the process that compares."""
    place.write_bytes(pickle.dumps((listing.given, listing.entries, listing.complete)))


def read(place: Path) -> Listing | None:
    """Read a listing that this package wrote; None if none was made."""
    try:
        return Listing(*pickle.loads(place.read_bytes()))
    except (OSError, EOFError, pickle.UnpicklingError):
        return None


def compare(before: Listing, after: Listing) -> Compared:
    """Compare two listings; a folder that came or went stands for all in it."""
    found = Compared()
    for path in _in_order(after.entries.keys() - before.entries.keys()):
        if not _below(path, found.created):
            found.created.append(path)
    for path in _in_order(before.entries.keys() - after.entries.keys()):
        if not _below(path, found.removed):
            found.removed.append(path)
    for path, was in before.entries.items():
        now = after.entries.get(path, was)
        if stat.S_ISDIR(was[0]) and stat.S_ISDIR(now[0]) and was[0] == now[0]:
            if was[2] != now[2]:
                found.folders.append(path)
        elif was != now:
            found.changed.append(path)
    return found


def _in_order(paths: set[str]) -> list[str]:
    """Sort paths so that what is in a folder comes right behind it."""
    return sorted(paths, key=lambda path: path.split(os.sep))


def _below(path: str, folders: list[str]) -> bool:
    return bool(folders) and path.startswith(folders[-1] + os.sep)


def _entries(folder: str) -> dict[str, os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}
    except OSError:
        return {}


def _seen(found: os.stat_result) -> Seen:
    return found.st_mode, 0 if stat.S_ISDIR(found.st_mode) else found.st_size, found.st_mtime_ns
