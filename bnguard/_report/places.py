"""Where a finding is shown: a path that means the same on every machine, relative to the root of the repository."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bnguard._facts.findings import Finding
    from bnguard._facts.models import SourceLine

_INSTALLED = {"site-packages", "dist-packages"}
_DECLARES = ("bnguard.toml", "pyproject.toml")
"""Where a check is declared, at the root of the repository."""


class FileLocation(NamedTuple):
    """A file of the repository, as ``src/model.py``, and a line in it; None where only the file is known."""

    path: str
    line: int | None = None


class Places:
    """Paths relative to the root of the repository around a folder, or to that folder where there is none.

    A relative file is looked for in that folder first, then in those above it up to the root: `bnguard check` names
    files from the folder of the configuration.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._here = str(folder) if folder else _working_folder()
        self.root = _root_above(self._here)
        self._known: dict[str, str | None] = {}

    def within(self, file: str) -> str | None:
        """Return the path from the root, with slashes; None for a file outside, or of an installed package."""
        if file not in self._known:
            self._known[file] = self._within(file)
        return self._known[file]

    def of_line(self, source: SourceLine | None) -> FileLocation | None:
        """Return the place of a line, or None where it is not in the repository."""
        path = self.within(source.file) if source else None
        return FileLocation(path, max(1, source.line)) if source and path else None

    def of_finding(self, finding: Finding, *, declared: bool = True) -> FileLocation | None:
        """Return where a reader of the repository should look for a finding.

        That is the line that built the layer or the loader. Where it is in an installed package, or not known: the
        file that the target names, else the file that may declare the check (where ``declared``), else None.
        """
        place = self.of_line(finding.location) or self._of_file(split_target(finding.model or "")[0])
        if place is None and declared:
            return next(filter(None, (self._of_file(os.path.join(self.root, x)) for x in _DECLARES)), None)  # noqa: PTH118
        return place

    def named_from_root(self, target: str) -> str:
        """Return a target whose file is named from the root, so that it reads alike from every folder."""
        file, colon, rest = split_target(target)
        place = self._of_file(file)
        return f"{place.path}{colon}{rest}" if place else target

    def _of_file(self, file: str) -> FileLocation | None:
        path = self.within(file) if file and self._folder_of(file) else None
        return FileLocation(path) if path else None

    def _folder_of(self, file: str) -> str | None:
        """Return the folder that a file is named from; None where there is no such file."""
        here = Path(self._here)
        for folder in (here, *(p for p in here.parents if p.is_relative_to(self.root))):
            try:
                if (folder / file).is_file():
                    return str(folder)
            except (OSError, ValueError):  # a name that no file can have
                return None
        return None

    def _within(self, file: str) -> str | None:
        if not file or file.startswith("<") or "\0" in file:
            return None
        path = os.path.normpath(os.path.join(self._folder_of(file) or self._here, file))  # noqa: PTH118 - links stay
        return _below(self.root, path) or _below(*map(_real, (self.root, path)))


def _below(root: str, path: str) -> str | None:
    inside = PurePath(path)
    if path == root or not inside.is_relative_to(root):
        return None
    below = inside.relative_to(root)
    return None if _INSTALLED & set(below.parts) else below.as_posix()


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a name that no file can have
        return path


def _working_folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # it is gone
        return os.path.abspath(os.sep)  # noqa: PTH100


def _root_above(folder: str) -> str:
    here = Path(folder)
    return str(next((p for p in (here, *here.parents) if (p / ".git").exists()), here))


def split_target(target: str) -> tuple[str, str, str]:
    """Split ``model.py:Net`` into the file, the colon and the name; a drive's colon is none of them."""
    file, end, rest = target.partition(".py:")
    return (f"{file}.py", ":", rest) if end else (target, "", "")
