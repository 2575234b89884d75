"""A folder before and after: what no hook has seen, because it was written in C, in Rust, or by another program."""

from __future__ import annotations

import marshal
import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

MOST_ENTRIES = 300_000
"""Entries that are listed at most: about a second."""

NOT_LISTED = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__"})
_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})
"""What a folder holds that is an environment of Python packages."""

Seen = tuple[int, int, int]
"""Mode, size, and the time of the last change in nanoseconds."""


class Listing(NamedTuple):
    """Every entry of the folders ``given``; ``complete`` unless there were too many."""

    given: list[str]
    entries: dict[str, Seen]
    complete: bool = True


class Compared(NamedTuple):
    """What differs between two listings; ``folders`` are those whose times alone do."""

    created: list[str]
    changed: list[str]
    removed: list[str]
    folders: list[str]


def listed(folders: Iterable[str]) -> Listing:
    """List folders with all that is in them, but environments, the stores of version control and ``node_modules``."""
    given = [folder for folder in folders if os.path.isdir(folder)]
    if os.sep in given:
        return Listing([], {}, complete=False)
    entries, waiting = {folder: _seen(os.lstat(folder)) for folder in given}, list(given)
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
                if entry.name in NOT_LISTED or entry.path in entries:
                    continue
                waiting.append(entry.path)
            entries[entry.path] = seen
        if len(entries) > MOST_ENTRIES:
            return Listing(given, entries, complete=False)
    return Listing(given, entries)


def write(place: str, listing: Listing) -> None:
    """Keep a listing for the process that compares."""
    with open(place, "wb") as file:
        marshal.dump(tuple(listing), file)


def read(place: str) -> Listing | None:
    """Read a listing that was kept; None if none was, or not all of it."""
    try:
        with open(place, "rb") as file:
            return Listing(*marshal.load(file))
    except (OSError, EOFError, ValueError, TypeError):
        return None


def compare(before: Listing, after: Listing) -> Compared:
    """Compare two listings; a folder that came or went stands for all in it."""
    found = Compared([], [], [], [])
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
