"""An ordinary user: what the kernel grants him, and permissions that hold for him; root becomes one to try."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.operations import age, tree
from sandbox.trees import ROOT, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Linux kernel's")
SOMEBODY = 12345
PYTHONS = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")


class Person:
    """An ordinary user, with a folder and a copy of this package that he may read."""

    def __init__(self, place: Path, python: str, groups: tuple[int, ...]) -> None:
        self.cwd = place / "project"
        self.place, self.python, self.groups = place, python, groups

    def demoted(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        return {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": [SOMEBODY, *self.groups]}

    def run(self, script: str, way: str = "any") -> dict[str, Any]:
        write(self.cwd, script)
        if os.geteuid() == 0:
            os.chown(self.cwd / "train.py", SOMEBODY, SOMEBODY)
        age(self.cwd)
        result = subprocess.run(
            [self.python, str(self.place / "drive.py"), str(self.cwd), "train.py", way],
            env={"PATH": os.defpath, "PYTHONPATH": str(self.place), "HOME": "/nonexistent"},
            cwd=self.cwd,
            capture_output=True,
            text=True,
            check=False,
            **self.demoted(),
        )
        assert result.returncode == 0, result.stderr
        said: dict[str, Any] = json.loads(result.stdout)
        assert not said["state"], said["trouble"]
        return said

    def give(self, name: str, text: str = "", group: int = SOMEBODY) -> Path:
        path = self.cwd / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
        for one in (path, path.parent):
            if os.geteuid() == 0:
                os.chown(one, SOMEBODY, SOMEBODY)
        if os.geteuid() == 0:
            os.chown(path, SOMEBODY, group)
        path.chmod(0o660)
        return path


@pytest.fixture
def person() -> Iterator[Person]:
    place = Path(tempfile.mkdtemp(prefix="bnguard-test-", dir="/tmp"))
    try:
        place.chmod(0o755)
        (place / "project").mkdir()
        shutil.copytree(
            Path(ROOT, "bnguard/_sandbox"), place / "bnguard/_sandbox", ignore=shutil.ignore_patterns("__pyc*")
        )
        shutil.copy(Path(ROOT, "bnguard/_whole_file.py"), place / "bnguard")
        for name in ("bnguard/__init__.py", "tests/sandbox/drive.py"):
            shutil.copy(Path(ROOT, name), place / ("bnguard/__init__.py" if "init" in name else "drive.py"))
        person = Person(place, "", (100,))
        if os.geteuid() == 0:
            os.chown(place / "project", SOMEBODY, SOMEBODY)
        person.python = next((python for python in PYTHONS if _runs(python, person.demoted())), "")
        if not person.python:
            pytest.skip("no Python that an ordinary user may run")
        yield person
    finally:
        shutil.rmtree(place)


def _runs(python: str, demoted: dict[str, Any]) -> bool:
    try:
        code = "import sys; sys.exit(sys.version_info < (3, 10))"
        return subprocess.run([python, "-c", code], check=False, cwd="/", **demoted).returncode == 0
    except OSError:
        return False


def granted(said: dict[str, Any]) -> None:
    if said["way"] != "overlay" and "no user namespace" in str(said["notes"]):
        pytest.skip(f"not granted: {said['notes']}")


WRITING = """
    import os, shutil, subprocess
    open("log", "a").write("more")
    os.rename("old", "older"); open("older/file", "w").write("x")
    subprocess.run(["cp", "log", "copy"], check=True)
    shutil.rmtree("gone"); os.mkdir("gone"); print(os.listdir("gone"), os.getuid())
    open("/tmp/bnguard-elsewhere", "w").write("x")
"""


def test_an_ordinary_user_has_a_view_of_his_own(person: Person) -> None:
    for name in ("log", "old/file", "gone/file"):
        person.give(name, "before")
    said = person.run(WRITING)
    granted(said)
    before = tree(person.cwd)
    said = person.run(WRITING)
    assert said["code"] == 0, said["output"]
    assert said["way"] == "overlay", said["notes"]
    assert said["output"].startswith(f"[] {SOMEBODY if os.geteuid() == 0 else os.getuid()}")
    assert tree(person.cwd) == before
    assert not Path("/tmp/bnguard-elsewhere").exists()
    assert said["trouble"] == []
    assert {name: what for name, what in said["left_out"].items() if not name.startswith("..")} == {
        "copy": "created", "gone": "changed", "log": "changed", "old": "removed", "older": "created",
    }  # fmt: skip


def test_an_ordinary_user_with_a_journal(person: Person) -> None:
    for name in ("log", "old/file", "gone/file"):
        person.give(name, "before")
    before = person.run("pass") and tree(person.cwd)
    said = person.run(WRITING.replace('["cp", "log", "copy"]', '["true"]'), "journal")
    del before["train.py"]
    after = tree(person.cwd)
    del after["train.py"]
    assert after == before
    assert said["way"] == "journal"
    assert said["trouble"] == []
    assert not Path("/tmp/bnguard-elsewhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a file of another group")
def test_a_file_of_another_group_is_left_to_the_journal(person: Person) -> None:
    """In a user namespace that knows one group, copying such a file up fails with EOVERFLOW."""
    granted(person.run("pass"))
    person.give("log", "before", group=100)
    said = person.run('open("log", "a").write("more")')
    assert said["code"] == 0, said["output"]
    assert said["way"] == "journal"
    assert f"{person.cwd / 'log'} is of another group than the user's own" in said["notes"][0]
    assert (person.cwd / "log").read_text() == "before"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a folder of another group")
def test_a_folder_above_that_is_of_another_group(person: Person) -> None:
    """It can be the root of an overlay; below one it could not be copied up, and nothing could be made in it."""
    os.chown(person.place, 0, 100)
    person.place.chmod(0o775)
    said = person.run("open('new', 'w'); open('../beside', 'w')")
    granted(said)
    assert said["code"] == 0, said["output"]
    assert said["way"] == "overlay"
    assert said["left_out"] == {"new": "created", "../beside": "created"}
    assert not (person.place / "beside").exists()


def test_a_file_that_cannot_be_read_cannot_be_written(person: Person) -> None:
    person.give("secret", "secret").chmod(0o200)
    said = person.run("open('secret', 'a').write('x')", "journal")
    assert "cannot be put aside (Permission denied)" in said["trouble"][0]
    assert (person.cwd / "secret").stat().st_size == 6


@pytest.mark.parametrize("way", ["any", "journal"])
def test_permissions_that_the_script_takes_from_itself(person: Person, way: str) -> None:
    for name in ("shut/file", "shut/gone", "readonly/file"):
        person.give(name, "before")
    (person.cwd / "readonly").chmod(0o500)
    said = person.run(
        """
        import os
        open("shut/file", "a").write("y"); os.remove("shut/gone"); os.chmod("shut/file", 0); os.chmod("shut", 0)
        os.mkdir("new"); open("new/f", "w").close(); os.mkdir("new/sub"); os.chmod("new/sub", 0); os.chmod("new", 0)
        os.chmod("readonly", 0o700); os.rename("readonly", "moved"); os.chmod("moved", 0)
        """,
        way,
    )
    assert said["code"] == 0, said["output"]
    assert said["left_out"] == {
        "shut": "changed", "shut/file": "changed", "shut/gone": "removed", "new": "created",
        "readonly": "removed", "moved": "created",
    }  # fmt: skip
    assert said["trouble"] == []
    assert sorted(os.listdir(person.cwd)) == ["readonly", "shut", "train.py"]
    assert sorted(os.listdir(person.cwd / "shut")) == ["file", "gone"]
    assert [oct((person.cwd / name).stat().st_mode) for name in ("shut", "readonly", "shut/file")] == [
        "0o40755", "0o40500", "0o100660",
    ]  # fmt: skip


def test_random_sequences(person: Person) -> None:
    """As in test_property.py, where permissions hold."""
    code = """
import random, sys, tempfile
from pathlib import Path
from operations import *
for seed in range(int(sys.argv[1]), int(sys.argv[1]) + 150):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        cwd = Path(place, "work")
        cwd.mkdir()
        os.chdir(cwd)
        begin = [any_operation(chance) for _ in range(8)]
        for one in begin:
            if one[0] in ("write", "makedirs", "link", "symlink", "copy"):
                do(one)
        age(cwd)
        before, ops = tree(cwd), [any_operation(chance) for _ in range(chance.randrange(30))]
        with Sandbox(cwd, way="journal") as box:
            run_forked(box, cwd, ops, "journal", chance.choice([None, None, 5]))
        assert tree(cwd) == before, (seed, begin, ops, before, tree(cwd))
        assert box.trouble == [] and all(left.undone for left in box.left_out), (seed, begin, ops, box.trouble)
"""
    shutil.copy(Path(__file__).with_name("operations.py"), person.place / "operations.py")
    result = subprocess.run(
        [person.python, "-c", code, "0"],
        env={"PATH": os.defpath, "PYTHONPATH": str(person.place), "HOME": "/nonexistent"},
        cwd=person.cwd,
        capture_output=True,
        text=True,
        check=False,
        **person.demoted(),
    )
    assert result.returncode == 0, result.stderr
