"""The starting process's part: a folder for what is put aside, the command, and afterwards the undoing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from bnguard._sandbox import listing, overlay, undo
from bnguard._sandbox.child import SITECUSTOMIZE, VARIABLE
from bnguard._sandbox.journal import lstat
from bnguard._sandbox.undo import Line, What
from bnguard._whole_file import write_whole

Way = Literal["overlay", "journal"]

TRACKERS_OFF = {
    "WANDB_MODE": "disabled",
    "WANDB_SILENT": "true",
    "COMET_MODE": "disabled",
    "COMET_START_ONLINE": "false",
    "COMET_DISABLE_AUTO_LOGGING": "1",
    "COMET_OFFLINE_DIRECTORY": "{state}/comet",
    "NEPTUNE_MODE": "offline",
    "CLEARML_OFFLINE_MODE": "1",
    "MLFLOW_TRACKING_URI": "file:{state}/mlflow",
    "__AIM_REPO_NAME__": "{state}/aim",
    "SWANLAB_MODE": "disabled",
    "TRACKIO_DIR": "{state}/trackio",
    "DVCLIVE_TEST": "true",
}
"""What switches each tracker of experiments off, or has it write where all of it goes away; from each one's manual."""

_READERS = frozenset({"ldconfig", "lscpu", "lspci", "nvidia-smi", "rocm-smi", "uname", "hostname", "which"})
"""Programs that libraries start to look around, and that write nothing."""

_PREFIX = "bnguard-sandbox-"
_SECONDS_TO_DIE = 5.0
_SECONDS_FOR_OTHERS = 20.0
"""How long the one that puts back waits for other processes of the same training to be done."""

_FULL = 16 << 20


@dataclass(frozen=True)
class LeftOut:
    """Something that the script wrote.

    Attributes:
        path: where, absolute; a folder that came or went stands for all in it.
        what: ``created``, ``changed`` or ``removed``.
        undone: whether it is as it was.
        reason: why it is not, or where it is now.

    """

    path: str
    what: What
    undone: bool = True
    reason: str | None = None


class Sandbox:
    """Runs a process from which nothing is left, whatever becomes of it.

    Args:
        cwd: the folder in which the process starts.
        script: what it runs; its folder is looked after as well.
        keep: leave what is written. Trackers are switched off all the same.
        shared: folders that the process and others write to in earnest, such as that of the outcome.
        way: ``overlay`` or ``journal``; by default the first one that works here.
        joined: a folder common to several processes of one training on this machine, each with a sandbox of its own.
            They see each other's files, so the way is the journal's.
        leads: whether this one puts back for all that are joined.

    Attributes:
        left_out: what was written, in the order of paths; filled by ``put_back``.
        trouble: sentences that say what could not be put back, and what was refused to the script: what it did then
            is not what it would do otherwise.
        notes: sentences that say what this way does not cover, and why it was taken.
        way: the way that was taken; None before the process has started, and with ``keep``.

    """

    def __init__(
        self,
        cwd: str | Path,
        *,
        script: str | Path | None = None,
        keep: bool = False,
        shared: Sequence[str | Path] = (),
        way: Way | None = None,
        joined: Path | None = None,
        leads: bool = True,
    ) -> None:
        self.left_out: list[LeftOut] = []
        self.trouble: list[str] = []
        self.notes: list[str] = []
        self.way: Way | None = None
        self._cwd = Path(cwd).absolute()
        self._script = self._cwd if script is None else (self._cwd / script).parent
        self._keep = keep
        self._shared = [os.path.realpath(folder) for folder in shared]
        self._wanted: Way | None = "journal" if joined is not None or sys.platform != "linux" else way
        self._joined = joined
        self._leads = leads
        self._state: Path | None = None
        self._aside: str | None = None
        self._plan: dict[str, Any] = {}

    def __enter__(self) -> Sandbox:
        joined = self._joined
        state = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_place(self._cwd))) if joined is None else joined / "sandbox"
        state.mkdir(mode=0o700, exist_ok=True)
        self._state = state
        for name in ("kept", "site", *(["here"] if joined else [])):
            (state / name).mkdir(exist_ok=True)
        if joined is not None:
            (state / "here" / str(os.getpid())).touch()
        folders = dict.fromkeys(map(os.path.realpath, (self._cwd, self._script)))
        writable = [
            folder for folder in _usual_folders() if os.access(folder, os.R_OK | os.W_OK) and os.listdir(folder)
        ]
        self._plan = {"folders": [*folders, *writable], "listed": len(folders), "shared": self._shared}
        _write(state / "way.json", '{"way": "journal", "covered": {}, "through": []}')
        package = str(Path(__file__).parents[2])
        text = SITECUSTOMIZE.format(here=str(state / "site"), package=package)
        _write(state / "site" / "sitecustomize.py", text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.put_back()

    def command(self, argv: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
        """Return the command and the environment with which to start a process in here, in ``cwd``."""
        assert self._state is not None, "a sandbox is entered first"
        state = str(self._state)
        self._plan["folders"] += _named_in(argv, self._cwd)
        _write(self._state / "plan.json", json.dumps(self._plan))
        environment = {**env, **{name: value.format(state=state) for name, value in TRACKERS_OFF.items()}}
        if self._keep:
            return list(argv), environment
        path = [str(self._state / "site"), *filter(None, [env.get("PYTHONPATH")])]
        environment |= {VARIABLE: state, "PYTHONPATH": os.pathsep.join(path)}
        if self._wanted == "journal":
            return list(argv), environment
        return [sys.executable, "-I", "-S", overlay.__file__, state, *argv], environment

    def put_back(self) -> None:
        """Undo what was written, once the process has ended; what is left of those that it started is ended first.

        Interrupted, it goes on where it stopped when it is called again.
        """
        if self._state is None:
            return
        if self._joined is not None:
            (self._state / "here" / str(os.getpid())).unlink(missing_ok=True)
            if not self._leads:
                self._state = None
                return
            self._wait_for_joined(self._state)
        state = self._state
        if not self._keep:
            _end_all(state)
            self._undo(state)
        if self._state is not None:
            undo.remove_tree(state)
        self._state = None

    def _undo(self, state: Path) -> None:
        found = json.loads((state / "way.json").read_text(encoding="utf-8"))
        self.way = found["way"]
        if "reason" in found:
            self.notes.append(f"there is no copy-on-write view of the file system here: {found['reason']}")
        here = [path for path in found["through"] if Path(path).is_relative_to(os.path.realpath(self._cwd))]
        self.notes += [f"{path} is seen as it is: what is written there is put aside before" for path in here]
        overlaid = overlay.changes(found["covered"])
        self.left_out += [LeftOut(path, what) for path, what in overlaid if undo.CACHE not in path]
        if shutil.disk_usage(state).free < _FULL:
            self.trouble.append(f"the disk that holds {state.parent} is full")
        failed = self._undo_journal(state, undo.lines(state))
        self._compare(state, failed)
        self.left_out.sort(key=lambda left: left.path)
        if failed and any((state / "kept").iterdir()):
            self.trouble.append(f"what was put aside is kept in {state / 'kept'}")
            self._state = None
        try:
            Path.cwd()
        except FileNotFoundError:  # it was removed, and made again
            os.chdir(self._cwd)

    def _undo_journal(self, state: Path, journal: list[Line]) -> dict[str, str]:
        """Undo what the journal tells; return what could not be undone, and why."""
        self.trouble += [f"refused to the script: {line.path}" for line in journal if line.kind == "refused"]
        programs = [line.path for line in journal if line.kind == "program" and _program(line.path) not in _READERS]
        if programs and self.way == "journal":
            others = f", and {len(programs) - 1} more" if programs[1:] else ""
            self.notes.append(f"what other programs write is seen only afterwards ({programs[0]}{others})")
        undoing = undo.Undoing(state, _Writers(), self._put_aside)
        left_out = list(undo.differences(journal))
        undoing.all(journal)
        for path, what in left_out:
            reason = undoing.failed.get(path)
            self.left_out.append(LeftOut(path, what, undone=reason is None, reason=reason))
        self.trouble += [f"{path} could not be put back: {reason}" for path, reason in undoing.failed.items()]
        return undoing.failed

    def _compare(self, state: Path, failed: Collection[str]) -> None:
        """Find what the journal does not tell; what came is moved away, what changed or went can only be named."""
        before = listing.read(str(state / "before"))
        if before is None:
            return
        if not before.complete:
            self.notes.append(f"{self._cwd} holds too many files to be compared with what it was")
            return
        now = listing.compare(before, listing.listed(before.given))
        writers, unseen = _Writers(), list[LeftOut]()
        for path in now.created:
            if path not in failed and (found := lstat(path)) is not None:
                unseen.append(self._unseen(path, writers(found)))
        reason = "not by a writer that bnguard sees: another program or process, or a library that writes past Python"
        gone: list[tuple[str, What]] = [*((path, "changed") for path in now.changed)]
        gone += [(path, "removed") for path in now.removed]
        for path, what in gone:
            if path not in failed and not writers.own(path):
                unseen.append(LeftOut(path, what, undone=False, reason=reason))
        left = {os.path.dirname(entry.path) for entry in unseen if not entry.undone}
        for folder in now.folders:
            if folder not in left:
                with suppress(OSError):
                    os.utime(folder, ns=(os.stat(folder).st_atime_ns, before.entries[folder][2]))
        self.left_out += unseen

    def _unseen(self, path: str, writer: str | None) -> LeftOut:
        """Move away what nobody has seen being written; somebody else may have written it, so it is not removed."""
        if writer is not None:
            return LeftOut(path, "created", undone=False, reason=f"{writer} is writing to it")
        try:
            return LeftOut(path, "created", reason=f"nobody saw who wrote it; it is now {self._put_aside(path)}")
        except OSError as error:
            return LeftOut(path, "created", undone=False, reason=error.strerror)

    def _put_aside(self, path: str) -> str:
        """Move an entry out of the way; return where it is."""
        if self._aside is None:
            self._aside = tempfile.mkdtemp(prefix="bnguard-set-aside-", dir=_place(self._cwd))
        place = os.path.join(self._aside, os.path.basename(path))
        if os.path.lexists(place):
            place = os.path.join(tempfile.mkdtemp(dir=self._aside), os.path.basename(path))
        os.rename(path, place)
        return place

    def _wait_for_joined(self, state: Path) -> None:
        """Wait for the other processes of the training to be done; one that has died is."""
        deadline = time.monotonic() + _SECONDS_FOR_OTHERS
        while time.monotonic() < deadline:
            if not any(_alive(int(entry.name)) for entry in (state / "here").iterdir()):
                return
            time.sleep(0.02)


def _write(path: Path, text: str) -> None:
    """Write a file that a process of another one that is joined may be reading."""
    write_whole(path, text.encode())


def _program(command: str) -> str:
    return os.path.basename(command.split(" ", 1)[0])


class _Writers:
    """Who has files open to write to them; asked once for all files, and only if there is one in question."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], int] | None = None

    def __call__(self, file: os.stat_result) -> str | None:
        """Return who it is, in words; None if nobody, or if this machine does not tell."""
        if self._found is None:
            self._found = dict(_open_to_write())
        process = self._found.get((file.st_dev, file.st_ino))
        if process is None:
            return None
        return "this process" if process == os.getpid() else f"another process ({process})"

    def own(self, path: str) -> bool:
        """Whether this process writes to a file, such as one that its output goes to."""
        found = lstat(path)
        return found is not None and self(found) == "this process"


def _open_to_write() -> Iterator[tuple[tuple[int, int], int]]:
    for process in _processes():
        with suppress(OSError):
            for handle in os.scandir(f"/proc/{process}/fd"):
                with suppress(OSError):
                    if os.readlink(handle.path).startswith("/"):
                        info = Path(f"/proc/{process}/fdinfo/{handle.name}").read_text(encoding="ascii")
                        flags = int(info.split("flags:")[1].split()[0], 8)
                        if flags & (os.O_WRONLY | os.O_RDWR):
                            found = os.stat(handle.path)
                            yield (found.st_dev, found.st_ino), process


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # not Linux
        return []


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _end_all(state: Path) -> None:
    """Kill what the script has started and left behind: it can be told by its environment, wherever it has gone."""
    mark, deadline = f"{VARIABLE}={state}".encode(), time.monotonic() + _SECONDS_TO_DIE
    while time.monotonic() < deadline:
        found = False
        for process in _processes():
            with suppress(OSError):
                if mark in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                    os.kill(process, signal.SIGKILL)
                    found = True
        if not found:
            return
        time.sleep(0.005)


def _usual_folders() -> list[str]:
    """Return where scripts write besides their own folders: the home folder and those for temporary files."""
    folders = [os.path.expanduser("~"), tempfile.gettempdir(), "/tmp"]
    return [path for path in dict.fromkeys(map(os.path.realpath, folders)) if os.path.isdir(path)]


def _named_in(argv: Sequence[str], cwd: Path) -> list[str]:
    """Return the folders that a command line names and that may be written to: where results go, as a rule."""
    found = []
    for word in argv[1:]:
        path = os.path.realpath(os.path.join(cwd, os.path.expanduser(word.rpartition("=")[2])))
        while not os.path.isdir(path):
            path = os.path.dirname(path)
        if os.access(path, os.W_OK):
            found.append(path)
    return found


def _place(cwd: Path) -> str | None:
    """Return a folder for temporary files on the disk that ``cwd`` is on, so that files can be moved; None: any."""
    folders = ("/var/tmp", tempfile.gettempdir(), os.path.expanduser("~/.cache"))
    usable = [folder for folder in folders if os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)]
    device = cwd.stat().st_dev
    return next((folder for folder in usable if os.stat(folder).st_dev == device), (*usable, None)[0])
