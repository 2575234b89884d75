"""The user's file: read without a change, written without a loss."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bnguard._errors import FileError
from bnguard._whole_file import write_whole


@dataclass(frozen=True)
class Source:
    """A file of Python source.

    Attributes:
        path: as the user named it.
        real: the file itself, where ``path`` is a link.
        data: its bytes.
        text: its text without a byte order mark, line endings as they are.
        encoding: as its first lines declare it, ``utf-8`` without a word.

    """

    path: Path
    real: Path
    data: bytes
    text: str
    encoding: str

    def encode(self, text: str) -> bytes:
        """Return a text as bytes of this file, with its byte order mark where it has one."""
        return text.encode(self.encoding)


def read_source(path: Path) -> Source:
    """Read a file of Python source.

    Raises:
        FileError: it is missing, a folder, empty, a notebook or no text.

    """
    data = _read(path)
    if path.suffix == ".ipynb":
        raise FileError(f"{path} is a notebook", hint=f"export it first: jupyter nbconvert --to script {path}")
    if not data.strip():
        raise FileError(f"{path} is empty", hint="name the file that makes the DataLoaders")
    if b"\0" in data:
        raise FileError(f"{path} is not text", hint="name a file of Python source")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise FileError(
            f"{path} cannot be decoded: {error}", hint="save it as UTF-8, or declare its encoding in the first line"
        ) from error
    source = Source(path, Path(os.path.realpath(path)), data, text, encoding)
    if source.encode(text) != data:
        raise FileError(f"{path} cannot be written back unchanged in {encoding}", hint="save it as UTF-8")
    return source


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except IsADirectoryError as error:
        raise FileError(f"{path} is a folder", hint=f"name its files: bnguard fix {path}/*.py") from error
    except OSError as error:
        raise FileError(
            f"cannot read {path}: {error.strerror or error}", hint="give the path of a file of Python source"
        ) from error


def write_new(source: Source, new: bytes) -> Path | None:
    """Put new contents in the place of what was read; return the backup, None where git holds the old text.

    Raises:
        FileError: the file has uncommitted changes, has changed since it was read, or cannot be written; it is
            then as it was.

    """
    path = source.real
    state = git_state(path)
    if state == "changed":
        raise FileError(
            f"{source.path} has uncommitted changes: nothing was written", hint="commit or stash them, then run again"
        )
    try:
        if path.read_bytes() != source.data:
            raise FileError(f"{source.path} has changed since it was read: nothing was written", hint="run again")
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "the file is read-only")
        backup = None if state == "clean" else _keep(path, source.data)
        _replace(path, new, backup)
    except OSError as error:
        raise FileError(
            f"cannot write {source.path}: {error.strerror or error}; it is as it was",
            hint="allow writing there, or apply the diff elsewhere: bnguard fix FILE > fix.patch",
        ) from error
    return backup


def _replace(path: Path, new: bytes, backup: Path | None) -> None:
    try:
        write_whole(path, new)
    except BaseException:
        if backup:
            backup.unlink(missing_ok=True)
        raise


def _keep(path: Path, data: bytes) -> Path:
    """Write the old contents beside the file, under the first name that is free."""
    backup, number = path.with_name(f"{path.name}.orig"), 0
    while os.path.lexists(backup):
        number += 1
        backup = path.with_name(f"{path.name}.orig.{number}")
    write_whole(backup, data)
    shutil.copymode(path, backup)
    return backup


def git_state(path: Path) -> Literal["clean", "changed", "outside"]:
    """Say whether git holds the file as it is; ``outside`` where it does not know the file, or there is no git."""
    if not _git(path, "ls-files"):
        return "outside"
    changes = _git(path, "status", "--porcelain", "--untracked-files=no")
    return "outside" if changes is None else "changed" if changes else "clean"


def _git(path: Path, *command: str) -> bytes | None:
    """Return what git says of this one file; None without git, outside a repository, or where git refuses."""
    options = ("--no-optional-locks", "--literal-pathspecs", "-C", str(path.parent))
    try:
        done = subprocess.run(["git", *options, *command, "--", path.name], capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
