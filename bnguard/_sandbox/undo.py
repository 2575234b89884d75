"""Undoing what the journal tells, from its last line to its first, after the processes that wrote it have ended."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bnguard._sandbox.journal import clone, copy_data, lstat, state_of

What = Literal["created", "changed", "removed"]
Was = dict[str, Any]
CACHE = f"{os.sep}__pycache__"


class Line(NamedTuple):
    """One line of the journal: what stood at ``path`` before something was done to it."""

    kind: str
    path: str
    was: Was | None
    kept: str | None = None
    to: str | None = None
    begin: int = 0


def lines(state: Path) -> list[Line]:
    """Read the journal; the last line may be torn."""
    found: list[Line] = []
    begin = 0
    with suppress(FileNotFoundError), (state / "journal").open("rb") as file:
        for text in file:
            if text.endswith(b"\n"):
                found.append(Line(**json.loads(text), begin=begin))
            begin += len(text)
    return found


def differences(journal: list[Line]) -> Iterator[tuple[str, What]]:
    """Yield what differs now from what stood there first.

    A folder that came, went, or is another one than before stands for all in it. Folders that the script has shut to
    itself are opened: they get their permissions back later.
    """
    for line in journal:
        if line.kind == "stat" and line.was is not None and stat.S_ISDIR(line.was["mode"]) and lstat(line.path):
            _open_up(line.path)
    first: dict[str, tuple[str, Was | None]] = {}
    moves: list[Line] = []
    for line in journal:
        if line.kind in ("entry", "move", "content", "stat"):
            first.setdefault(_first_name(line.path, moves), (line.kind, line.was))
        if line.to is not None:
            first.setdefault(line.to, ("entry", None))
            moves.append(line)
    found = {path: what for path, (kind, was) in first.items() if (what := _difference(path, kind, was))}
    whole = tuple(path + os.sep for path in found if _is_another_folder(first[path][1], _state(path)))
    for path, what in sorted(found.items()):
        if not path.startswith(whole) and CACHE not in path:
            yield path, what


def _first_name(path: str, moves: list[Line]) -> str:
    """Return the name under which an entry began, of that which it has after some moves."""
    for move in reversed(moves):
        if move.to is not None and f"{path}{os.sep}".startswith(f"{move.to}{os.sep}"):
            path = move.path + path[len(move.to) :]
    return path


def _is_another_folder(was: Was | None, now: Was | None) -> bool:
    folders = [state for state in (was, now) if state is not None and stat.S_ISDIR(state["mode"])]
    return bool(folders) and (was is None or now is None or was["ino"] != now["ino"])


def _difference(path: str, kind: str, was: Was | None) -> What | None:
    now = _state(path)
    if was is None:
        return None if now is None else "created"
    if now is None:
        return "removed"
    if stat.S_ISDIR(now["mode"]) and stat.S_ISDIR(was["mode"]):
        return "changed" if (now["mode"], now["ino"]) != (was["mode"], was["ino"]) else None
    if kind == "content" and now["ino"] == was["ino"]:
        return "changed" if now["ctime_ns"] != was["ctime_ns"] else None
    seen = ("mode", "size", "mtime_ns") if kind == "stat" else ("mode", "size", "mtime_ns", "ino")
    return "changed" if any(now[name] != was[name] for name in seen) else None


class Undoing:
    """Puts back what the lines tell.

    Args:
        state: the folder of the sandbox.
        busy: who has a file open to write to it, in words; None if nobody.
        aside: puts an entry of whose origin nothing is known out of the way, and says where.

    """

    def __init__(self, state: Path, busy: Callable[[os.stat_result], str | None], aside: Callable[[str], str]) -> None:
        self.failed: dict[str, str] = {}
        self._state = state
        self._busy = busy
        self._aside = aside
        self._now: dict[tuple[int, int], tuple[int, int]] = {}
        self._steps: dict[str, Callable[[Line], None]] = {
            "entry": self._entry,
            "move": self._move,
            "content": self._content,
            "stat": self._stat,
            "times": self._times,
            "place": self._place,
        }

    def all(self, journal: list[Line]) -> None:
        """Undo every line; what is undone is struck from the journal, so that an interrupted undoing can go on."""
        for line in reversed(journal):
            if step := self._steps.get(line.kind):
                try:
                    step(line)
                except OSError as error:
                    self.failed.setdefault(line.path, error.strerror or str(error))
            os.truncate(self._state / "journal", line.begin)

    def _entry(self, line: Line) -> None:
        """Have at a path what stood there, or nothing."""
        now = lstat(line.path)
        if line.was is not None and self._is(now, line.was):
            return
        if now is not None:
            self._remove(line.path, now)
        if line.was is not None:
            self._restore(line.path, line.was, line.kept)

    def _move(self, line: Line) -> None:
        """Give a file or a folder its name back."""
        source, target = line.path, line.to or ""
        assert line.was is not None
        if self._is(lstat(source), line.was):
            return
        if not self._is(lstat(target), line.was):
            raise FileNotFoundError(2, f"it was renamed to {target}, and is no longer there")
        if lstat(source) is not None:
            self._aside(source)
        _reach(source, lambda: os.rename(target, source))

    def _content(self, line: Line) -> None:
        """Write a file's content back into it."""
        now, was = lstat(line.path), line.was
        assert was is not None
        if not self._is(now, was):
            if now is not None:
                self._aside(line.path)
            self._restore(line.path, was, line.kept)
        elif now is not None and now.st_ctime_ns != was["ctime_ns"]:
            self._refuse_busy(now)
            if not os.access(line.path, os.W_OK):
                os.chmod(line.path, 0o600)
            with open(line.kept or "", "rb") as source, open(line.path, "r+b") as target:
                _transfer(source.fileno(), target.fileno())
            _set(line.path, was)

    def _stat(self, line: Line) -> None:
        if line.was is not None and self._is(lstat(line.path), line.was):
            _set(line.path, line.was)

    def _times(self, line: Line) -> None:
        now, was = lstat(line.path), line.was
        if was is not None and now is not None and stat.S_ISDIR(now.st_mode):
            with suppress(PermissionError):  # a folder for all, such as that of temporary files
                os.utime(line.path, ns=(was["atime_ns"], was["mtime_ns"]))

    def _place(self, line: Line) -> None:
        """Remove a folder in which files of another disk were put aside; all of them are back by now."""
        with suppress(FileNotFoundError):
            os.rmdir(line.path)

    def _remove(self, path: str, now: os.stat_result) -> None:
        """Remove what the script made; not while somebody else writes to it."""
        if not stat.S_ISDIR(now.st_mode):
            self._refuse_busy(now)
            _reach(path, lambda: os.unlink(path))
            return
        for file in _files(path):
            self._refuse_busy(os.lstat(file))
        _reach(path, lambda: remove_tree(path))

    def _restore(self, path: str, was: Was, kept: str | None) -> None:
        """Make an entry again, from what was kept of it."""
        if kept is not None and os.path.lexists(kept):
            _reach(path, lambda: shutil.move(kept, path))
        elif was["to"] is not None:
            _reach(path, lambda: os.symlink(was["to"], path))
        elif stat.S_ISDIR(was["mode"]):
            _reach(path, lambda: os.mkdir(path))
        elif stat.S_ISFIFO(was["mode"]):
            _reach(path, lambda: os.mkfifo(path))
        else:
            raise FileNotFoundError(2, "nothing could be kept of it")
        now = os.lstat(path)
        if not self._is(now, was):
            self._now[was["dev"], was["ino"]] = (now.st_dev, now.st_ino)
            _set(path, was)

    def _is(self, now: os.stat_result | None, was: Was) -> bool:
        """Whether it is the same file or folder, or what was restored in its place."""
        key = (was["dev"], was["ino"])
        return now is not None and (now.st_dev, now.st_ino) == self._now.get(key, key)

    def _refuse_busy(self, now: os.stat_result) -> None:
        if who := self._busy(now):
            raise OSError(16, f"{who} is writing to it")


def remove_tree(path: str | Path) -> None:
    """Remove a folder and all in it, also what the user may not enter or change."""
    for _ in _files(str(path)):
        pass
    shutil.rmtree(path)


def _files(folder: str) -> Iterator[str]:
    """Yield what is in a folder and is none itself; all folders are opened on the way."""
    _open_up(folder)
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        else:
            yield entry.path


def _open_up(folder: str) -> None:
    mode = stat.S_IMODE(os.lstat(folder).st_mode)
    if mode & 0o700 != 0o700:
        os.chmod(folder, mode | 0o700)


def _reach(path: str, act: Callable[[], object]) -> None:
    """Do something to an entry, in a folder that may be gone or not writable."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    try:
        act()
    except PermissionError:
        os.chmod(folder, mode | 0o700)
        try:
            act()
        finally:
            os.chmod(folder, mode)


def _transfer(source: int, target: int) -> None:
    os.ftruncate(target, 0)
    if not clone(source, target):
        copy_data(source, target)


def _set(path: str, was: Was) -> None:
    """Give back owner, permissions and times."""
    now = os.lstat(path)
    if (now.st_uid, now.st_gid) != (was["uid"], was["gid"]):
        with suppress(PermissionError):
            os.chown(path, was["uid"], was["gid"], follow_symlinks=False)
    if was["to"] is None:
        os.chmod(path, stat.S_IMODE(was["mode"]))
    with suppress(NotImplementedError):
        os.utime(path, ns=(was["atime_ns"], was["mtime_ns"]), follow_symlinks=False)


def _state(path: str) -> Was | None:
    return None if lstat(path) is None else state_of(path)
