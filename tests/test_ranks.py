"""What this process is told of its group, and the folder in which the ranks of a machine meet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import distributed

from bnguard import _ranks as ranks
from bnguard._ranks import rank_and_world_size


def test_without_a_group_there_is_no_rank() -> None:
    assert rank_and_world_size() == (None, 1)


def test_a_group_of_one_is_a_group() -> None:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        assert rank_and_world_size() == (0, 1)
        assert rank_and_world_size(distributed.group.WORLD) == (0, 1)
    finally:
        distributed.destroy_process_group()
    assert rank_and_world_size() == (None, 1)


# ------------------------------------------------------------------------------------------- where ranks meet


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The launcher's folder for this attempt, as rank 0 of two sees it."""
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "attempt_0/0/error.json"))
    (tmp_path / "attempt_0/0").mkdir(parents=True)
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "attempt_0"


def common(attempt: Path) -> Path:
    return attempt / "bnguard-report.d"


def test_a_folder_of_ones_own_is_private_and_goes_with_the_leader(attempt: Path) -> None:
    with ranks.own_folder() as folder:
        assert folder is not None
        assert folder.parent == common(attempt)
        assert {place.lstat().st_mode & 0o777 for place in (folder, folder.parent)} == {0o700}
        assert ranks.others(folder) == []
    assert not common(attempt).exists()


def test_who_does_not_lead_leaves_the_folder_and_no_other_run_is_read(
    attempt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    left = common(attempt) / "rank-1"
    left.mkdir(parents=True, mode=0o700)
    common(attempt).chmod(0o700)
    (left / "of a run that was killed").touch()
    with ranks.own_folder() as folder:
        assert folder == left
        assert [place.name for place in folder.iterdir()] == ["here"]
    assert list(left.iterdir()) == []


def occupied_by(folder: Path, process: int) -> None:
    folder.mkdir()
    (folder / "here").write_text(str(process), encoding="ascii")


def test_the_leader_waits_for_those_who_came_and_not_long_for_those_who_did_not(attempt: Path) -> None:
    with ranks.own_folder() as folder, subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as other:
        assert folder is not None
        assert ranks.wait_for_others(folder, 0.0) == 1  # it never came
        occupied_by(folder.parent / "rank-1", other.pid)
        assert ranks.others(folder) == [folder.parent / "rank-1"]
        assert other.stdin is not None
        other.stdin.close()  # it dies without a word, and is gone all the same
        other.wait()
        assert ranks.wait_for_others(folder, 600.0) == 0
    assert not common(attempt).exists()


@pytest.fixture
def others_eyes() -> Iterator[None]:
    """What is made here can be read by everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("others_eyes")
@pytest.mark.parametrize("what", ["open", "link", "file", "foreign"])
def test_what_another_user_may_have_put_there_is_not_used(
    what: str, attempt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = common(attempt)
    if what == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    elif what == "file":
        place.touch()
    else:
        place.mkdir(mode=0o777 if what == "open" else 0o700)
    if what == "foreign":
        monkeypatch.setattr(os, "getuid", lambda: place.lstat().st_uid + 1)
    with ranks.own_folder() as folder:
        assert folder is None
    why = {"open": "is open to other users", "foreign": "belongs to another user"}.get(what, "is no folder")
    line = f"bnguard: the ranks cannot meet in {place}, which {why}: each speaks for itself\n"
    assert capsys.readouterr().err == line
    assert place.exists()


def test_a_process_alone_meets_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with ranks.own_folder() as folder:
        assert folder is None
    alone = tmp_path / "bnguard-1"
    alone.mkdir()
    (tmp_path / "rank-7").mkdir()
    assert ranks.others(alone) == []
