"""The copy-on-write way: a view of the file system for one process tree, in which nothing real can be written.

As a script, ``python -I -S overlay.py STATE COMMAND…``, this file makes the view and becomes the command. It runs
before everything else, so it knows the standard library alone. What the kernel refuses is written to
``STATE/way.json``, and the command runs without the view.

The system calls are made by ctypes and not by unshare(1) and mount(8): mount(8) wants to be root and so would change
the user's id, its option strings cannot hold every path, and its words differ from release to release.
"""

from __future__ import annotations

import itertools
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator

TYPE_CHECKING = False  # typing takes as long to import as all that this file does
if TYPE_CHECKING:
    from bnguard._sandbox.undo import What

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18

NOT_OVERLAID = ("/", "/dev", "/proc", "/sys", "/run")
"""Places of the system: the devices, the processes, and sockets that must be the real ones."""

MOST_ENTRIES = 20_000
"""So many entries of the working folder are looked at for owners that a user namespace does not map."""


_OPTIONS = (
    "redirect_dir=on,metacopy=off,volatile",
    "redirect_dir=on,metacopy=off",
    "userxattr,volatile",
    "userxattr",
)
"""From the best to what every kernel has: those of whoever may mount in the first namespace come first. ``volatile``
leaves out writing the layers to the disk, whose end nobody waits for: they are removed."""


class NoView(Exception):  # noqa: N818 - an answer rather than an error
    """The view cannot be made; the reason is the text."""


def main(state: str, command: list[str]) -> None:
    """Make the view that ``STATE/plan.json`` asks for, if the kernel lets us, and become the command."""
    with open(os.path.join(state, "plan.json"), encoding="utf-8") as file:
        plan = json.load(file)
    way: dict[str, object] = {"way": "journal", "covered": {}, "through": []}
    try:
        _try_in_a_child(state, plan)
        covered, through = enter(state, plan)
        way = {"way": "overlay", "covered": covered, "through": through}
    except (NoView, OSError) as error:
        way["reason"] = str(error)
    with open(os.path.join(state, "way.json"), "w", encoding="utf-8") as file:
        json.dump(way, file)
    os.execvp(command[0], command)


def enter(state: str, plan: dict[str, list[str]], layers: str = "upper") -> tuple[dict[str, str], list[str]]:
    """Put this process into namespaces of its own, and overlays over the folders of the plan.

    Args:
        state: the folder that holds the upper layers.
        plan: ``folders``, the first of which must be covered, and ``shared``, which stay the real ones.
        layers: how the upper layers are named.

    Returns:
        The folders that are covered, each the root of an overlay, with its upper layer; and mounts below them that
        show through.

    Raises:
        NoView: the kernel grants no namespace, or the first folder cannot be covered.

    """
    covered, reason, names = dict[str, str](), "it is a place of the system", itertools.count()
    mapped = None if os.geteuid() == 0 and not _call("unshare", CLONE_NEWNS) else (os.geteuid(), os.getegid())
    wanted = [os.path.realpath(folder) for folder in plan["folders"]]
    wanted += [path for path in _mount_points() if _inside(path, wanted[0])]
    roots = {_highest(folder, mapped, state): folder for folder in reversed(wanted)}
    if mapped is not None:
        _refuse_unmapped(wanted[0], *mapped)
        _unshare_user(*mapped)
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    for root in sorted(roots, key=len, reverse=True):  # the innermost first: it shows through those around it
        for folder in dict.fromkeys((root, roots[root])):
            if folder not in NOT_OVERLAID and folder not in covered:
                upper = os.path.join(state, f"{layers}{next(names)}")
                try:
                    _cover(folder, upper, [state, *plan["shared"]])
                except OSError as error:
                    reason = f"{folder}: {error.strerror}"
                else:
                    covered[folder] = upper
                    break
    if _mount_of(wanted[0]) not in covered:
        raise NoView(f"{wanted[0]} cannot be overlaid ({reason})")
    os.chdir(plan["folders"][0])
    real = [state, *map(os.path.realpath, plan["shared"])]
    through = [path for path in _mount_points() if os.path.isdir(path) and path not in (*covered, *real)]
    return covered, [path for path in through if any(_inside(path, root) for root in covered)]


def changes(covered: dict[str, str]) -> Iterator[tuple[str, What]]:
    """Yield each path that was written in the view, and ``created``, ``changed`` or ``removed``.

    A folder that came, went, or is another one than before stands for all in it.
    """
    for root, upper in covered.items():
        yield from _layer(upper, root)


def _layer(upper: str, lower: str) -> Iterator[tuple[str, What]]:
    os.chmod(upper, os.stat(upper).st_mode | 0o700)  # the script may have shut it
    entries = sorted(os.scandir(upper), key=lambda entry: entry.name)
    for entry in entries:
        path, now = os.path.join(lower, entry.name), entry.stat(follow_symlinks=False)
        was = _lstat(path)
        folders = was is not None and stat.S_ISDIR(was.st_mode) and stat.S_ISDIR(now.st_mode)
        another = folders and _opaque(entry.path)
        if what := "changed" if another else _difference(was, now):
            yield path, what
        if folders and not another:
            yield from _layer(entry.path, path)


def _difference(was: os.stat_result | None, now: os.stat_result) -> What | None:
    """Compare an entry with the one that it hides; a character device 0/0 says that the latter was removed."""
    if stat.S_ISCHR(now.st_mode) and now.st_rdev == 0:
        return None if was is None else "removed"
    if was is None:
        return "created"
    seen = [(found.st_mode, 0 if stat.S_ISDIR(found.st_mode) else found.st_size) for found in (was, now)]
    times = stat.S_ISDIR(now.st_mode) or was.st_mtime_ns == now.st_mtime_ns
    return None if seen[0] == seen[1] and times else "changed"


def _try_in_a_child(state: str, plan: dict[str, list[str]]) -> None:
    """Make what matters of the view in a child that ends, so that this process is untouched where it is refused."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # layers of its own: the kernel lets go of one only some time after a process has ended
            covered, _ = enter(state, {**plan, "folders": plan["folders"][:1]}, "trial")
            _require_attributes(next(iter(covered.values())))
        except BaseException as error:  # noqa: BLE001 - told to the parent
            os.write(write, str(error).encode(errors="replace") or b"refused")
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        reason = answer.read().decode()
    os.waitpid(child, 0)
    if reason:
        raise NoView(reason)


def _require_attributes(folder: str) -> None:
    """Require extended attributes of the upper layer: they say that a folder which is made anew is empty.

    Raises:
        NoView: its file system keeps none.

    """
    for name in ("trusted.overlay.probe", "user.overlay.probe"):
        try:
            return os.setxattr(folder, name, b"y")
        except OSError:
            continue
    raise NoView("the file system of the temporary folder keeps no extended attributes")


def _unshare_user(uid: int, gid: int) -> None:
    """Enter a user namespace that knows this user and this group alone: more takes privileges."""
    error = _call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    if error:
        raise NoView(f"no user namespace ({os.strerror(error)})")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _refuse_unmapped(folder: str, uid: int, gid: int) -> None:
    """Refuse a folder with files of another group: copying such a file up fails with EOVERFLOW."""
    waiting, seen = [folder], 0
    while waiting and seen < MOST_ENTRIES:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    seen += 1
                    found = entry.stat(follow_symlinks=False)
                    if found.st_uid == uid and found.st_gid != gid:
                        raise NoView(f"{entry.path} is of another group than the user's own")
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(entry.path)
        except OSError:
            continue


def _highest(folder: str, mapped: tuple[int, int] | None, state: str) -> str:
    """Return the highest folder above that the user may write to: so ``../runs`` and the folder itself are covered."""
    while True:
        parent, found = os.path.dirname(folder), os.stat(folder)
        copied_up = mapped is None or (found.st_uid, found.st_gid) == mapped
        outside = parent in NOT_OVERLAID or os.path.ismount(folder) or _inside(state, parent)
        if outside or not copied_up or not os.access(parent, os.W_OK):
            return folder
        folder = parent


def _cover(root: str, upper: str, shared: Iterable[str]) -> None:
    """Put an overlay over a folder; mounts below it, sockets in it and shared folders show through."""
    below = [path for path in _mount_points() if path != root and _inside(path, root)]
    outermost = [path for path in below if not any(path != other and _inside(path, other) for other in below)]
    through = [*outermost, *_sockets(root), *(path for path in map(os.path.realpath, shared) if _inside(path, root))]
    kept = [(path, os.open(path, os.O_PATH)) for path in through if os.path.exists(path)]
    _overlay(root, upper)
    for path, handle in kept:
        _mount(f"/proc/self/fd/{handle}", path, None, MS_BIND | MS_REC)
        os.close(handle)


def _overlay(root: str, upper: str) -> None:
    os.mkdir(upper)
    found = os.stat(root)
    os.chmod(upper, stat.S_IMODE(found.st_mode))
    if os.geteuid() == 0:
        os.chown(upper, found.st_uid, found.st_gid)
    os.utime(upper, ns=(found.st_atime_ns, found.st_mtime_ns))
    refused = OSError()
    for number, options in enumerate(_OPTIONS if os.geteuid() == 0 else _OPTIONS[2:]):
        work = f"{upper}.work{number}"  # one that was tried with ``volatile`` is spoilt
        os.mkdir(work)
        try:
            return _mount_layers((root, upper, work), options)
        except OSError as error:
            refused = error
    raise refused


def _mount_layers(folders: tuple[str, str, str], options: str) -> None:
    """Mount over a folder what it and the layers come to; by open files, since paths could hold commas and colons."""
    handles = [os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in folders]
    try:
        layers = "lowerdir=/proc/self/fd/{},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{}".format(*handles)
        _mount("overlay", folders[0], "overlay", 0, f"{layers},{options}")
    finally:
        for handle in handles:
            os.close(handle)


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return sorted({_unescaped(line.split(" ")[4]) for line in file})


def _sockets(root: str) -> list[str]:
    """Return the sockets in a folder: one that is seen through an overlay has nobody listening."""
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
            paths = {line.rstrip("\n").split(" ", 7)[-1].strip() for line in file}
    except OSError:
        return []
    return sorted(path for path in paths if _inside(path, root) and os.path.realpath(path) == path)


def _unescaped(path: str) -> str:
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        path = path.replace(code, character)
    return path


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    error = _call("mount", *texts[:3], flags, texts[3])
    if error:
        raise OSError(error, os.strerror(error), target)


def _call(name: str, *arguments: object) -> int:
    """Call a function of the C library; return its errno, 0 if it succeeded."""
    import ctypes  # a tenth of what a Python needs to start; whoever reads the layers afterwards needs none of it

    libc = ctypes.CDLL(None, use_errno=True)
    return 0 if getattr(libc, name)(*arguments) == 0 else ctypes.get_errno()


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _mount_of(path: str) -> str:
    return max((mount for mount in _mount_points() if _inside(path, mount)), key=len)


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _opaque(folder: str) -> bool:
    for name in ("user.overlay.opaque", "trusted.overlay.opaque"):
        try:
            if os.getxattr(folder, name) == b"y":
                return True
        except (OSError, AttributeError):
            continue
    return False


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
