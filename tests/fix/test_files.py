"""Reading a file without a change and writing it without a loss."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from bnguard._errors import FileError
from bnguard._fix.files import git_state, read_source, write_new

OLD = b"x = 1\n"
NEW = b"x = 2\n"


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "train.py").write_bytes(OLD)
    git(folder, "add", "train.py")
    git(folder, "commit", "-qm", "x")
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_bytes(OLD)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.py", None, "cannot read .*a.py: No such file or directory"),
        ("a.py", b"", "a.py is empty"),
        ("a.py", b" \n\n", "a.py is empty"),
        ("a.py", b"\x7fELF\0\0", "a.py is not text"),
        ("a.py", b"x = '\xe9'\n", "a.py cannot be decoded"),
        ("a.py", b"# coding: nonsense\nx = 1\n", "a.py cannot be decoded: unknown encoding: nonsense"),
        ("a.py", b"# coding: rot13\nx = 1\n", "a.py cannot be decoded"),
        ("a.ipynb", b"{}", "a.ipynb is a notebook"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, data, words):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(FileError, match=words) as caught:
        read_source(tmp_path / name)
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_folder_is_none(tmp_path):
    with pytest.raises(FileError, match="is a folder"):
        read_source(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x = 1\nprint 'a'\n", 2, "Missing parentheses in call to 'print'"),
        ("def f(:\n", 1, "invalid syntax"),
        ("def f():\n    return 1\n\nfor x in range(3)\n    pass\n", 4, "expected ':'"),
        ("x = (1,\n", 1, "'\\(' was never closed"),
        ("%matplotlib inline\n", 1, "invalid syntax"),
    ],
)
def test_a_syntax_error_is_pythons(proposed, text, line, words):
    with pytest.raises(FileError, match=rf"train\.py:{line}: no Python 3 source: {words}"):
        proposed(text)


def test_nesting_that_is_too_deep_is_one_line(proposed):
    with pytest.raises(FileError, match="nests expressions too deeply"):
        proposed("from torch.utils.data import DataLoader\nx = " + " + ".join(["a"] * 3000) + "\n")


class TestWriting:
    def test_a_backup_is_kept_outside_of_git(self, file):
        assert write_new(read_source(file), NEW) == file.with_name("train.py.orig")
        assert (file.read_bytes(), file.with_name("train.py.orig").read_bytes()) == (NEW, OLD)

    def test_a_backup_replaces_none(self, file):
        file.with_name("train.py.orig").write_bytes(b"older")
        file.with_name("train.py.orig.1").symlink_to("nowhere")
        assert write_new(read_source(file), NEW) == file.with_name("train.py.orig.2")
        assert file.with_name("train.py.orig").read_bytes() == b"older"
        assert names(file.parent) == ["train.py", "train.py.orig", "train.py.orig.1", "train.py.orig.2"]

    def test_mode_bits_stay(self, file):
        file.chmod(0o755)
        backup = write_new(read_source(file), NEW)
        assert (file.stat().st_mode & 0o777, backup.stat().st_mode & 0o777) == (0o755, 0o755)

    def test_a_link_stays_a_link(self, file, tmp_path):
        (tmp_path / "links").mkdir()
        link = tmp_path / "links" / "link.py"
        link.symlink_to(file)
        write_new(read_source(link), NEW)
        assert link.is_symlink()
        assert file.read_bytes() == NEW
        assert names(link.parent) == ["link.py"]

    def test_a_change_meanwhile_is_kept(self, file):
        source = read_source(file)
        file.write_bytes(b"mine\n")
        with pytest.raises(FileError, match="has changed since it was read"):
            write_new(source, NEW)
        assert file.read_bytes() == b"mine\n"
        assert names(file.parent) == ["train.py"]

    def test_a_full_disk_leaves_all_as_it_was(self, file, monkeypatch):
        real, calls = os.fdopen, []

        def second_is_full(*arguments: object, **keywords: object) -> object:
            calls.append(arguments)
            if len(calls) == 2:
                raise OSError(28, "No space left on device")
            return real(*arguments, **keywords)

        monkeypatch.setattr(os, "fdopen", second_is_full)
        with pytest.raises(FileError, match="No space left on device; it is as it was"):
            write_new(read_source(file), NEW)
        assert file.read_bytes() == OLD
        assert names(file.parent) == ["train.py"]

    def test_a_folder_that_cannot_be_written(self, file, monkeypatch):
        def refused(*_: object, **__: object) -> object:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(tempfile, "mkstemp", refused)
        with pytest.raises(FileError, match=r"cannot write .*train\.py: Permission denied"):
            write_new(read_source(file), NEW)
        assert names(file.parent) == ["train.py"]

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is read-only for root")
    @pytest.mark.parametrize("which", ["file", "folder"])
    def test_what_is_read_only_stays(self, file, which):
        path = file if which == "file" else file.parent
        path.chmod(0o555)
        try:
            with pytest.raises(FileError, match="cannot write"):
                write_new(read_source(file), NEW)
        finally:
            path.chmod(0o755)
        assert (file.read_bytes(), names(file.parent)) == (OLD, ["train.py"])


class TestGit:
    def test_git_is_the_backup(self, repository):
        assert write_new(read_source(repository / "train.py"), NEW) is None
        assert (repository / "train.py").read_bytes() == NEW
        assert names(repository) == [".git", "train.py"]

    @pytest.mark.parametrize("staged", [False, True])
    def test_uncommitted_changes_are_refused(self, repository, staged):
        path = repository / "train.py"
        path.write_bytes(b"mine\n")
        if staged:
            git(repository, "add", "train.py")
        with pytest.raises(FileError, match="has uncommitted changes: nothing was written") as caught:
            write_new(read_source(path), NEW)
        assert "commit or stash" in caught.value.hint
        assert path.read_bytes() == b"mine\n"

    def test_a_new_file_that_is_only_staged_is_refused(self, repository):
        (repository / "new.py").write_bytes(OLD)
        git(repository, "add", "new.py")
        assert git_state(repository / "new.py") == "changed"

    @pytest.mark.parametrize("ignored", [False, True])
    def test_an_untracked_file_gets_a_backup(self, repository, ignored):
        (repository / "new.py").write_bytes(OLD)
        if ignored:
            (repository / ".gitignore").write_text("new.py\n")
        assert write_new(read_source(repository / "new.py"), NEW) == repository / "new.py.orig"

    def test_changes_of_other_files_do_not_matter(self, repository):
        (repository / "other.py").write_bytes(OLD)
        git(repository, "add", "other.py")
        assert git_state(repository / "train.py") == "clean"

    def test_names_mean_themselves(self, repository):
        for name in ("*.py", ":(top)x.py", "-x.py", "é x.py"):
            (repository / name).write_bytes(OLD)
            assert git_state(repository / name) == "outside", name
        git(repository, "add", "--", ".")
        git(repository, "commit", "-qm", "y")
        assert git_state(repository / "é x.py") == "clean"
        (repository / "train.py").write_bytes(NEW)
        assert git_state(repository / "*.py") == "clean"

    def test_without_git(self, repository, monkeypatch):
        monkeypatch.setenv("PATH", str(repository))
        assert git_state(repository / "train.py") == "outside"
