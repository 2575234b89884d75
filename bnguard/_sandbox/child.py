"""In the process that is started: see each write before it happens.

Python tells its own writes by audit hooks (PEP 578); ``writers.py`` wraps those that write in C or Rust. Processes that
the script forks inherit both; a Python that it starts finds ``sitecustomize`` in the sandbox's folder, which calls
``setup`` there. Other programs are not seen: that they were started is noted.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from bnguard._sandbox import listing, writers
from bnguard._sandbox.journal import Journal

VARIABLE = "BNGUARD_SANDBOX"
"""The environment variable that names the sandbox's folder."""

SITECUSTOMIZE = """\
import sys
from importlib.machinery import PathFinder

def start(here, package):
    sys.path[:] = [path for path in sys.path if path != here]
    sys.path.insert(0, package)
    try:
        from bnguard._sandbox.child import setup
        setup()
    except (ImportError, SyntaxError):  # another Python
        pass
    finally:
        sys.path.remove(package)
    spec = PathFinder.find_spec("sitecustomize")
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(sys.modules["sitecustomize"])

start({here!r}, {package!r})
"""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_own = threading.local()
"""``busy`` while this thread puts something aside: its own writes are no news."""

_journal: Journal | None = None


def setup() -> None:
    """Watch this process from now on; nothing happens outside of a sandbox, nor the second time."""
    global _journal  # noqa: PLW0603 - an audit hook is there once for the process, and for good
    state = os.environ.get(VARIABLE)
    if _journal is not None or state is None or not os.path.isdir(state):
        return
    plan, way = (_read(os.path.join(state, name)) for name in ("plan.json", "way.json"))
    _journal = Journal(state, covered=tuple(way["covered"]), through=way["through"], shared=plan["shared"])
    if way["way"] == "journal":
        _list_once(os.path.join(state, "before"), plan["folders"][: plan["listed"]])
    else:
        _rename_folders_by_copying(tuple(way["covered"]))
    sys.addaudithook(_hook)
    writers.watch(_writes)


def _read(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


def _list_once(place: str, folders: list[str]) -> None:
    """List the folders before the script starts; processes that come later do not."""
    try:
        os.close(os.open(place, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    listing.write(place, listing.listed(map(os.path.realpath, folders)))


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    handler = _HANDLERS.get(event)
    if handler is None or getattr(_own, "busy", False) or sys.is_finalizing() or _journal is None:
        return
    _own.busy = True
    try:
        handler(_journal, *arguments)
    finally:
        _own.busy = False


def _writes(path: object, *, truncates: bool) -> None:
    """Put aside what a writer that Python does not tell of is about to write to."""
    if not getattr(_own, "busy", False) and _journal is not None and isinstance(path, (str, bytes, os.PathLike)):
        _own.busy = True
        try:
            _journal.writing(os.fsdecode(path), truncates=truncates)
        finally:
            _own.busy = False


# What Python tells


def _open(journal: Journal, path: object, _mode: str | None, flags: int) -> None:
    if flags & _WRITES and not isinstance(path, int):
        creates, truncates = bool(flags & os.O_CREAT), bool(flags & os.O_TRUNC)
        journal.writing(_named(path), creates=creates, truncates=truncates)


def _truncate(journal: Journal, path: object, _length: int) -> None:
    if not isinstance(path, int):
        journal.writing(_named(path), creates=False)


def _remove(journal: Journal, path: object, handle: int = -1) -> None:
    journal.removing(_named(path, handle))


def _rename(journal: Journal, source: object, target: object, from_: int = -1, to: int = -1) -> None:
    journal.moving(_named(source, from_), _named(target, to))


def _mkdir(journal: Journal, path: object, _mode: int, handle: int = -1) -> None:
    journal.making(_named(path, handle))


def _symlink(journal: Journal, _to: object, path: object, handle: int = -1) -> None:
    journal.making(_named(path, handle))


def _link(journal: Journal, source: object, target: object, from_: int = -1, to: int = -1) -> None:
    journal.linking(_named(source, from_), _named(target, to))


def _change(journal: Journal, path: object, *more: object) -> None:
    handle = more[-1] if more and isinstance(more[-1], int) and not isinstance(path, int) else -1
    journal.changing(_named(path, handle))


def _connect(journal: Journal, database: object) -> None:
    """SQLite opens its files in C: the database, and those that stand beside it while it is written."""
    path = _named(database)
    if path.startswith("file:"):
        from urllib.parse import unquote, urlsplit

        path = unquote(urlsplit(path).path)
    if path and path != ":memory:":
        for ending in ("", "-journal", "-wal", "-shm"):
            journal.writing(path + ending)


def _bind(journal: Journal, _socket: object, address: object) -> None:
    if isinstance(address, (str, bytes)) and os.fsencode(address)[:1] not in (b"", b"\0"):  # a socket of Unix
        journal.making(_named(address))


def _program(journal: Journal, program: object, *more: object) -> None:
    """Note a program that is not Python; a shell's own words tell more than its name."""
    if isinstance(program, (str, bytes, os.PathLike)):
        first = more[0] if more and isinstance(more[0], (list, tuple)) and more[0] else [program]
        words = [os.fsdecode(word) for word in first if isinstance(word, (str, bytes, os.PathLike))]
        if words and not os.path.basename(words[0]).startswith("python"):
            journal.note("program", " ".join(words)[:200])


_HANDLERS: dict[str, Callable[..., None]] = {
    "open": _open,
    "os.remove": _remove,
    "os.rmdir": _remove,
    "os.rename": _rename,
    "os.mkdir": _mkdir,
    "os.symlink": _symlink,
    "os.link": _link,
    "os.truncate": _truncate,
    "os.chmod": _change,
    "os.chown": _change,
    "os.utime": _change,
    "sqlite3.connect": _connect,
    "socket.bind": _bind,
    "subprocess.Popen": _program,
    "os.system": _program,
    "os.posix_spawn": _program,
    "os.exec": _program,
}


def _named(path: object, handle: int = -1) -> str:
    """Return a path as a text; one that is relative to an open folder, or is an open file, by what it stands for."""
    if isinstance(path, int):
        return os.path.realpath(f"/proc/self/fd/{path}")
    text = os.fsdecode(path)  # type: ignore[arg-type]
    return (
        text if handle < 0 or os.path.isabs(text) else os.path.join(os.path.realpath(f"/proc/self/fd/{handle}"), text)
    )


def _rename_folders_by_copying(covered: tuple[str, ...]) -> None:
    """Have ``os.rename`` copy a folder where the overlay refuses to rename one that it has only from below (EXDEV)."""

    def renaming(rename: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(rename)
        def rename_or_copy(source: Any, target: Any, **handles: Any) -> None:  # noqa: ANN401 - os.rename's own
            try:
                rename(source, target, **handles)
            except OSError as error:
                places = [os.path.realpath(os.fsdecode(path)) for path in (source, target)]
                within = all(any(place.startswith(f"{root}/") for root in covered) for place in places)
                if error.errno != errno.EXDEV or handles or not within or not os.path.isdir(source):
                    raise
                import shutil

                if os.path.isdir(target):
                    os.rmdir(target)
                shutil.copytree(source, target, symlinks=True)
                shutil.rmtree(source)

        return rename_or_copy

    os.rename, os.replace = renaming(os.rename), renaming(os.replace)
