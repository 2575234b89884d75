"""The journal's way: before a write happens, what stood there is put aside, and a line says so.

The lines are read from the last to the first by ``undo.py``, in another process, so a line is written before what it
speaks of is done, and after what it needs is put aside: wherever this process is killed, the lines suffice. Several
processes append to one journal; a line is one write.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

LIMIT_PER_FILE = 1 << 30
"""Bytes of one file that are copied at most; links, clones and moves within a file system cost nothing."""

LIMIT_IN_ALL = 4 << 30
COPIED_ANYWAY = 1 << 22
"""A smaller file is copied even where another one could take its place: it stays the same file for who has it open."""

DISK_LEFT = 64 << 20
"""Bytes that copies leave free on the disk."""

Key = tuple[int, int]
"""Device and number: by these a file or a folder is known, whatever it is called."""

NEVER = ("/dev", "/proc", "/sys")


class Refused(OSError):  # noqa: N818 - the script reads it as an error of the operating system
    """What the script wants to write cannot be put back afterwards, so it was not touched."""


class Journal:
    """What a script is about to write, put aside before it does.

    Args:
        state: the folder of the sandbox: the lines go to ``journal``, what is put aside to ``kept``.
        covered: folders in which nothing is put aside, because nothing in them is real,
        through: but these.
        shared: folders that are written in earnest.

    """

    def __init__(
        self, state: str, covered: Sequence[str] = (), through: Sequence[str] = (), shared: Sequence[str] = ()
    ) -> None:
        self._lines = os.path.join(state, "journal")
        self._kept = os.path.join(state, "kept")
        self._places = {os.stat(self._kept).st_dev: self._kept}
        self._hidden = f".{os.path.basename(state)}"
        kinds = ((False, ("/dev/shm",)), (True, (*NEVER, *covered)), (False, through), (True, (state, *shared)))
        covers = {f"{folder.rstrip('/')}/": covers for covers, folders in kinds for folder in folders}
        self._covers = sorted(covers.items(), key=lambda item: -len(item[0]))
        self._names = itertools.count()
        self._own: dict[Key, bool] = {}  # whether the script has made it
        self._new: set[str] = set()  # paths at which nothing stood when the script was about to make something
        self._guests: set[str] = set()  # names that the script has given to what was there before
        self._copied: set[Key] = set()
        self._said: set[str] = set()
        self._touched: set[Key] = set()
        self._unlock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._unlock)

    # What the script is about to do

    def writing(self, path: str, *, creates: bool = True, truncates: bool = False) -> None:
        """Write to a file, or make it."""
        self._before(self._writing, path, creates=creates, truncates=truncates)

    def making(self, path: str) -> None:
        """Make a folder, a symbolic link, a socket, a pipe."""
        self._before(self._making, path)

    def linking(self, source: str, target: str) -> None:
        """Make another name for a file: what is written through it changes the file."""
        self._before(self._linking, source, target)

    def removing(self, path: str) -> None:
        """Remove a file, a link or an empty folder."""
        self._before(self._removing, path)

    def moving(self, source: str, target: str) -> None:
        """Rename; what stands at the target is replaced."""
        self._before(self._moving, source, target)

    def changing(self, path: str) -> None:
        """Change permissions, owner or times."""
        self._before(self._changing, path)

    def note(self, kind: str, text: str) -> None:
        """Say something to the starting process, once."""
        if text not in self._said:
            self._said.add(text)
            with contextlib.suppress(OSError):
                self._line(kind, text)

    def _writing(self, path: str, *, creates: bool, truncates: bool) -> None:
        path = os.path.realpath(path)
        if self._is_covered(path):
            return
        if not os.path.exists(path):
            if creates:
                self._making(path)  # unless it is a link that leads nowhere but to itself
            return
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or _key(found) in self._copied or self._is_own(path):
            return
        if not os.access(path, os.W_OK):
            return
        if truncates and found.st_nlink == 1 and found.st_size > COPIED_ANYWAY and self._replace(path, found):
            return
        self._line("content", path, state_of(path), kept=self._copy(path, found))
        self._copied.add(_key(found))

    def _making(self, path: str) -> None:
        if not os.path.lexists(path) and os.path.isdir(os.path.dirname(path)):
            self._absent(path)
            self._new.add(path)

    def _linking(self, source: str, target: str) -> None:
        found = lstat(source)
        if found is not None and not os.path.lexists(target) and os.path.isdir(os.path.dirname(target)):
            self._own[_key(found)] = self._is_own(source)
            self._absent(target)

    def _changing(self, path: str) -> None:
        path = os.path.realpath(path)
        if os.path.exists(path) and not self._is_own(path) and not self._is_covered(path):
            self._line("stat", path, state_of(path))

    def _replace(self, path: str, found: os.stat_result) -> bool:
        """Put a file aside as a whole and an empty one in its place; it costs nothing, however large the file is."""
        kept = self._name_beside(path, found) if os.access(os.path.dirname(path), os.W_OK) else None
        if kept is None:
            return False
        self._touch(path)
        self._line("entry", path, state_of(path), kept=kept)
        try:
            os.rename(path, kept)
        except OSError:  # another mount of the same device
            return False
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            os.chmod(path, stat.S_IMODE(found.st_mode))
        except OSError:
            os.rename(kept, path)
            raise
        self._own[_key(os.stat(path))] = True
        return True

    def _absent(self, path: str) -> None:
        if not self._is_own(os.path.dirname(path)):
            self._touch(path)
            self._line("entry", path)

    def _removing(self, path: str) -> None:
        found = lstat(path)
        if found is None or self._is_own(path):
            return
        if not stat.S_ISDIR(found.st_mode):
            self._touch(path)
            self._line("entry", path, state_of(path), kept=self._link(path, found))
        elif not os.listdir(path):  # else it will not be removed
            self._touch(path)
            self._gone_folder(path, found)

    def _gone_folder(self, path: str, found: os.stat_result) -> None:
        """Put a folder aside and an empty one in its place: who works in it, a terminal say, has it back afterwards."""
        kept = self._name_beside(path, found)
        self._line("entry", path, state_of(path), kept=kept)
        if kept is not None:
            os.rename(path, kept)
            os.mkdir(path, stat.S_IMODE(found.st_mode))

    def _moving(self, source: str, target: str) -> None:
        moved, replaced = lstat(source), lstat(target)
        if moved is None or not os.path.isdir(os.path.dirname(target)):
            return
        if replaced is not None and os.path.samestat(moved, replaced):
            return  # two names of one file: rename does nothing
        own = self._own[_key(moved)] = self._is_own(source) or self._is_covered(source)
        if replaced is not None:
            self._removing(target)
        elif own:
            self._absent(target)
        self._touch(target)
        if not own:
            self._touch(source)
            self._follow(source, target)
        else:
            for path in [path for path in self._guests if path.startswith(source + os.sep)]:
                self._follow(path, target + path[len(source) :])

    def _follow(self, source: str, target: str) -> None:
        """Note that something that was there before gets another name."""
        if os.path.lexists(source) and not self._is_own(source):
            self._line("move", source, state_of(source), to=target)
            self._guests.add(target)

    # What the script has made itself needs no line. It is known by its number, since what is noted may fail afterwards.

    def _is_own(self, path: str) -> bool:
        """Whether the script has made what stands at a path, or the nearest folder above of which that is known."""
        while True:
            found = lstat(path)
            if found is not None:
                if path in self._new:
                    self._new.discard(path)
                    self._own.setdefault(_key(found), True)
                if _key(found) in self._own:
                    return self._own[_key(found)]
            parent = os.path.dirname(path)
            if parent == path:
                return False
            path = parent

    # Putting aside

    def _link(self, path: str, found: os.stat_result) -> str | None:
        """Keep a file that is about to lose its name: by another name of it, which keeps all of it."""
        if name := self._name_beside(path, found):
            with contextlib.suppress(OSError, NotImplementedError):  # a file system without links
                os.link(path, name, follow_symlinks=False)
                return name
        return self._copy(path, found) if stat.S_ISREG(found.st_mode) else None  # the others are made again

    def _copy(self, path: str, found: os.stat_result) -> str:
        kept = os.path.join(self._kept, f"{os.getpid()}-{next(self._names)}")
        with open(path, "rb") as source, open(kept, "xb") as target:
            if clone(source.fileno(), target.fileno()):
                return kept
            try:
                self._require_room(path, _on_disk(found))
                copy_data(source.fileno(), target.fileno())
            except BaseException:
                os.unlink(kept)
                raise
        return kept

    def _require_room(self, path: str, size: int) -> None:
        """Refuse a copy that is too large; nothing has been written by then."""
        import shutil  # which imports all kinds of compression

        if size > LIMIT_PER_FILE:
            most = _gigabytes(LIMIT_PER_FILE)
            raise Refused(errno.EFBIG, f"holds {_gigabytes(size)}, more than the {most} that can be put aside", path)
        if size > COPIED_ANYWAY:
            held = sum(_on_disk(entry.stat(follow_symlinks=False)) for entry in os.scandir(self._kept))
            if held + size > LIMIT_IN_ALL:
                raise Refused(errno.EFBIG, f"more than {_gigabytes(LIMIT_IN_ALL)} would be put aside in all", path)
        if shutil.disk_usage(self._kept).free < size + DISK_LEFT:
            raise Refused(errno.ENOSPC, "the disk is too full to put it aside", path)

    def _name_beside(self, path: str, found: os.stat_result) -> str | None:
        """Return a new path on a file's own disk, to which it can be moved; None for a small one on another disk."""
        place = self._places.get(found.st_dev)
        if place is None and found.st_size > COPIED_ANYWAY:
            folder = os.path.dirname(path)
            while not os.path.ismount(folder) and os.access(os.path.dirname(folder), os.W_OK):
                folder = os.path.dirname(folder)
            place = self._places[found.st_dev] = os.path.join(folder, self._hidden)
            self._touch(place)
            self._line("place", place)
            os.makedirs(place, mode=0o700, exist_ok=True)
        return None if place is None else os.path.join(place, f"{os.getpid()}-{next(self._names)}")

    def _touch(self, path: str) -> None:
        """Note the times of the folder that an entry is about to change in, once."""
        folder = os.path.dirname(path)
        key = _key(os.lstat(folder))
        if key not in self._touched and not self._is_own(folder) and not self._is_covered(f"{folder}/"):
            self._touched.add(key)
            self._line("times", folder, state_of(folder))

    def _line(self, kind: str, path: str, was: dict[str, Any] | None = None, **more: str | None) -> None:
        text = json.dumps({"kind": kind, "path": path, "was": was, **more}) + "\n"
        handle = os.open(self._lines, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, text.encode("ascii"))
        finally:
            os.close(handle)

    def _before(self, act: Callable[..., None], *paths: str, **how: bool) -> None:
        """Do what lets the write be put back; where that fails, refuse the write."""
        try:
            entries = [_entry(path) for path in paths]
        except OSError:  # the working folder is gone: the script's own error comes next
            return
        if all(map(self._is_covered, entries)):
            return
        try:
            with self._lock:
                act(*entries, **how)
        except OSError as error:
            own = isinstance(error, Refused)
            reason = error.strerror if own else f"cannot be put aside ({error.strerror})"
            path = error.filename if own else entries[0]
            self.note("refused", f"{path} {reason}")
            with contextlib.suppress(OSError):
                text = f"bnguard: {path} {reason}; it was not touched\n"
                os.write(2, text.encode(errors="backslashreplace"))
            raise Refused(error.errno, f"bnguard: {reason}", path) from None

    def _is_covered(self, path: str) -> bool:
        """Whether the nearest folder above a path of which anything is known is one in which nothing is put aside."""
        return next((covers for folder, covers in self._covers if path.startswith(folder)), False)

    def _unlock(self) -> None:
        self._lock = threading.RLock()


def clone(source: int, target: int) -> bool:
    """Have two files share their blocks until one of them is written, where the file system can; it costs nothing."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target, 0x40049409, source)  # FICLONE
    except OSError:
        return False
    return True


def copy_data(source: int, target: int) -> None:
    """Copy a file's content; holes stay holes."""
    size = os.fstat(source).st_size
    for begin, end in _data(source, size):
        os.lseek(source, begin, os.SEEK_SET)
        os.lseek(target, begin, os.SEEK_SET)
        left = end - begin
        while left and (block := os.read(source, min(left, 1 << 20))):
            view = memoryview(block)
            while view:
                view = view[os.write(target, view) :]
            left -= len(block)
    os.ftruncate(target, size)


def _data(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a file's data begin and end."""
    if not hasattr(os, "SEEK_DATA"):
        yield 0, size
        return
    end = 0
    with contextlib.suppress(OSError):  # ENXIO: nothing but a hole is left
        while end < size:
            begin = os.lseek(handle, end, os.SEEK_DATA)
            end = os.lseek(handle, begin, os.SEEK_HOLE)
            yield begin, end


def _entry(path: str) -> str:
    """Return the absolute path of an entry: links above it followed, the entry itself not."""
    folder, name = os.path.split(path.rstrip(os.sep) or os.sep)
    if name in ("", ".", ".."):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(folder or "."), name)


def _key(found: os.stat_result) -> Key:
    return found.st_dev, found.st_ino


def lstat(path: str) -> os.stat_result | None:
    """Return what stands at a path, links not followed; None if nothing does."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def state_of(path: str) -> dict[str, Any]:
    """Return what is needed to know an entry again, and to give it back its owner, permissions and times."""
    found = os.lstat(path)
    state = {
        name: getattr(found, f"st_{name}")
        for name in ("dev", "ino", "mode", "uid", "gid", "size", "atime_ns", "mtime_ns", "ctime_ns")
    }
    return {**state, "to": os.readlink(path) if stat.S_ISLNK(found.st_mode) else None}


def _on_disk(found: os.stat_result) -> int:
    """Return how many bytes of a file are more than holes."""
    return min(found.st_size, found.st_blocks * 512) if hasattr(found, "st_blocks") else found.st_size


def _gigabytes(size: int) -> str:
    return f"{size / (1 << 30):.3g} GB"
