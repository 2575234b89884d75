"""What the file system and others can do to a sandbox."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bnguard._sandbox import box as box_module
from bnguard._sandbox import journal, listing, undo
from bnguard._sandbox.box import Sandbox
from sandbox.operations import age, tree
from sandbox.trees import ROOT, run, write

LIMITS = """
    from bnguard._sandbox import journal
    journal.LIMIT_PER_FILE = 100_000
    journal.COPIED_ANYWAY = 1000
"""


def test_a_script_that_deletes_its_own_folder(cwd: Path, way: str) -> None:
    (cwd / "deep/er").mkdir(parents=True)
    (cwd / "deep/er/file").write_text("x")
    script = write(cwd, "import os, shutil; shutil.rmtree(os.getcwd()); print('gone', os.path.exists(__file__))")
    age(cwd)
    before, number = tree(cwd), cwd.stat().st_ino
    ran = run(script, cwd, way=way)
    assert "gone False" in ran.output
    assert tree(cwd) == before
    assert ran.left_out == {".": "removed"}
    assert cwd.stat().st_ino == number, "a terminal in this folder has lost it"


def test_a_caller_in_a_folder_that_is_deleted_stays_there(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cwd)
    run(write(cwd, "import os, shutil; shutil.rmtree(os.getcwd())"), cwd, way="journal")
    assert Path.cwd() == cwd


def test_what_runs_on_after_the_script_is_ended(cwd: Path, way: str, shared: Path) -> None:
    script = write(
        cwd,
        f"""
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                open({str(shared / "new")!r}, "w").write(str(os.getpid()))
                os.rename({str(shared / "new")!r}, {str(shared / "alive")!r})
                while True:
                    open("log", "a").write("x")
                    time.sleep(0.01)
        while not os.path.exists({str(shared / "alive")!r}): time.sleep(0.01)
        os._exit(7)
        """,
    )
    before = tree(cwd)
    ran = run(script, cwd, way=way, shared=[shared])
    assert ran.code == 7
    assert tree(cwd) == before
    state = Path("/proc", (shared / "alive").read_text(), "stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_kinds_of_files(cwd: Path, way: str) -> None:
    (cwd / "one").write_text("1")
    os.link(cwd / "one", cwd / "two")
    os.mkfifo(cwd / "pipe")
    with open(cwd / "sparse", "wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
    holder = socket.socket(socket.AF_UNIX)
    holder.bind(str(cwd / "sock"))
    holder.close()
    (cwd / "outside").symlink_to(cwd.parent / "beside.txt")
    (cwd.parent / "beside.txt").write_text("beside")
    script = write(
        cwd,
        """
        import os, socket
        open("one", "a").write("2"); os.remove("two"); os.remove("pipe"); os.mkfifo("pipe2"); os.remove("sock")
        with open("sparse", "r+b") as file: file.write(b"begin")
        s = socket.socket(socket.AF_UNIX); s.bind("sock2")
        open("outside", "a").write("!"); os.symlink("nowhere", "dangling"); open("dangling", "w").write("x")
        os.remove("outside")
        """,
    )
    age(cwd)
    os.utime(cwd.parent / "beside.txt", (5, 5))
    before, blocks = tree(cwd.parent), (cwd / "sparse").stat().st_blocks
    ran = run(script, cwd, way=way)
    assert ran.code == 0, ran.output
    assert tree(cwd.parent) == before
    assert (cwd / "one").stat().st_ino == (cwd / "two").stat().st_ino
    assert (cwd / "sparse").stat().st_blocks == blocks
    assert ran.box.trouble == []
    assert stat.S_ISSOCK((cwd / "sock").stat().st_mode)
    expected = {
        "one": "changed", "two": "removed", "pipe": "removed", "pipe2": "created", "sock": "removed",
        "sock2": "created", "sparse": "changed", "../beside.txt": "changed", "outside": "removed",
        "dangling": "created", "nowhere": "created",
    }  # fmt: skip
    assert {os.path.relpath(left.path, cwd): left.what for left in ran.box.left_out} == expected


def test_a_file_that_is_written_by_another_name(cwd: Path, way: str) -> None:
    (cwd / "old").write_text("before")
    script = write(cwd, "import os; os.link('old', 'new'); open('new', 'a').write('more'); os.remove('old')")
    age(cwd)
    before = tree(cwd)
    ran = run(script, cwd, way=way)
    assert ran.code == 0, ran.output
    assert tree(cwd) == before


def test_a_file_that_was_there_is_kept_wherever_the_script_puts_it(cwd: Path, way: str) -> None:
    (cwd / "folder").mkdir()
    for name in ("one", "folder/two"):
        (cwd / name).write_text("before")
    script = write(
        cwd,
        """
        import os, shutil
        os.makedirs("new/deep"); os.rename("one", "new/deep/one"); os.rename("folder", "new/folder")
        open("new/folder/two", "w").write("x"); os.rename("new", "newer"); shutil.rmtree("newer")
        """,
    )
    age(cwd)
    before = tree(cwd)
    ran = run(script, cwd, way=way)
    assert ran.code == 0, ran.output
    assert tree(cwd) == before
    assert ran.left_out == {"one": "removed", "folder": "removed"}


def test_renames_that_fail_do_not_make_a_file_the_scripts_own(cwd: Path, way: str) -> None:
    """They are seen before they fail."""
    (cwd / "old").write_text("before")
    (cwd / "folder").mkdir()
    (cwd / "folder/two").write_text("before")
    script = write(
        cwd,
        """
        import contextlib, os
        os.mkdir("new"); os.makedirs("deep/er"); os.rename("folder/two", "deep/er/two")
        for source, target in (("new", "old"), ("deep/er", "old"), ("old", "new"), ("new", "deep")):
            with contextlib.suppress(OSError): os.rename(source, target)
        open("old", "w").write("after"); open("deep/er/two", "a").write("after"); os.remove("deep/er/two")
        """,
    )
    age(cwd)
    before = tree(cwd)
    ran = run(script, cwd, way=way)
    assert ran.code == 0, ran.output
    assert tree(cwd) == before
    assert {"old": "changed", "folder/two": "removed", "new": "created"}.items() <= ran.left_out.items()


def test_a_file_larger_than_the_limit_is_not_touched(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cwd / "big").write_bytes(bytes(200_000))
    (cwd / "small").write_text("small")
    script = write(
        cwd,
        LIMITS
        + """
    open("small", "a").write("more")
    open("big", "r+b").write(b"touched")
    """,
    )
    before = tree(cwd)
    ran = run(script, cwd, way="journal")
    assert ran.code == 1
    assert 'open("big", "r+b")' in ran.output, "the traceback shows the line"
    assert "bnguard: holds 0.000186 GB, more than the 9.31e-05 GB that can be put aside" in ran.output
    assert tree(cwd) == before
    (trouble,) = ran.box.trouble
    assert trouble.startswith(f"refused to the script: {cwd / 'big'} holds")


def test_a_large_file_is_replaced_or_removed_for_nothing(cwd: Path) -> None:
    for name in ("written", "removed", "replaced"):
        (cwd / name).write_bytes(name.encode() * 20_000)
    os.chmod(cwd / "written", 0o640)
    script = write(
        cwd,
        LIMITS
        + """
    import os
    open("written", "w").write("new"); os.remove("removed"); open("r", "w").write("r"); os.replace("r", "replaced")
    open("written", "r+").write("again")
    """,
    )
    before, number = tree(cwd), (cwd / "written").stat().st_ino
    ran = run(script, cwd, way="journal")
    assert ran.code == 0, ran.output
    assert ran.box.trouble == []
    assert tree(cwd) == before
    assert (cwd / "written").stat().st_ino == number


def test_all_that_is_put_aside_has_a_limit(cwd: Path) -> None:
    for number in range(4):
        (cwd / f"{number}").write_bytes(os.urandom(50_000))
    script = write(
        cwd,
        LIMITS
        + """
    journal.LIMIT_IN_ALL = 120_000
    for number in range(4): open(str(number), "r+b").write(b"touched")
    """,
    )
    before = tree(cwd)
    ran = run(script, cwd, way="journal")
    assert ran.code == 1
    assert "would be put aside in all" in ran.box.trouble[0]
    assert tree(cwd) == before


def test_a_full_disk_is_said_and_all_is_put_back(cwd: Path) -> None:
    for name in ("a", "b"):
        (cwd / name).write_bytes(os.urandom(50_000))
    script = write(
        cwd,
        """
        import collections, shutil
        open("a", "r+b").write(b"touched")
        shutil.disk_usage = lambda path: collections.namedtuple("U", "total used free")(1, 1, 0)
        open("b", "r+b").write(b"touched")
        """,
    )
    before = tree(cwd)
    ran = run(script, cwd, way="journal")
    assert ran.code == 1
    assert ran.box.trouble == [f"refused to the script: {cwd / 'b'} the disk is too full to put it aside"]
    assert tree(cwd) == before


def test_a_write_that_fails_while_it_is_put_aside(cwd: Path) -> None:
    """As a quota does, and a disk that another process fills: the copy itself fails."""
    (cwd / "a").write_bytes(os.urandom(500_000))
    script = write(
        cwd,
        """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        open("a", "r+b").write(b"touched")
        """,
    )
    before = tree(cwd)
    ran = run(script, cwd, way="journal")
    assert ran.code == 1
    assert "cannot be put aside (File too large)" in ran.box.trouble[0]
    assert tree(cwd) == before


@pytest.mark.parametrize("way", ["journal", "overlay"])
def test_a_small_disk_that_is_really_full(cwd: Path, way: str) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", cwd], check=False).returncode:
        pytest.skip("mounting is not granted")
    try:
        (cwd / "kept").write_bytes(os.urandom(400_000))
        script = write(cwd, 'open("kept", "r+b").write(b"touched")\nopen("full", "wb").write(bytes(9_000_000))')
        before = tree(cwd)
        ran = run(script, cwd, way=way)
        if way == "journal":
            assert "No space left" in ran.output
        assert tree(cwd) == before
        assert ran.left_out == {"kept": "changed", "full": "created"}
    finally:
        subprocess.run(["umount", cwd], check=True)


def test_another_disk_keeps_its_large_files(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", cwd], check=False).returncode:
        pytest.skip("mounting is not granted")
    try:
        (cwd / "sub").mkdir()
        (cwd / "sub/big").write_bytes(os.urandom(300_000))
        (cwd / "sub/gone").write_bytes(os.urandom(300_000))
        (cwd / "small").write_text("small")
        script = write(
            cwd,
            LIMITS + '\n    import os; open("sub/big", "w").write("x"); os.remove("sub/gone"); os.remove("small")\n',
        )
        before = tree(cwd)
        ran = run(script, cwd, way="journal")
        assert ran.code == 0, ran.output
        assert tree(cwd) == before
        assert ran.box.trouble == []
    finally:
        subprocess.run(["umount", cwd], check=True)


def test_shut_folders(cwd: Path, way: str) -> None:
    (cwd / "shut").mkdir()
    (cwd / "shut/file").write_text("x")
    (cwd / "readonly").mkdir()
    (cwd / "readonly/file").write_text("x")
    (cwd / "readonly").chmod(0o555)
    script = write(
        cwd,
        """
        import os
        open("shut/file", "a").write("y"); os.chmod("shut", 0)
        os.mkdir("new"); open("new/f", "w").close(); os.mkdir("new/sub"); os.chmod("new/sub", 0); os.chmod("new", 0)
        try: os.remove("readonly/file")
        except PermissionError: pass
        """,
    )
    age(cwd)
    before = tree(cwd)
    ran = run(script, cwd, way=way)
    assert ran.code == 0, ran.output
    assert tree(cwd) == before
    assert ran.box.trouble == []


def writing_meanwhile(path: Path, *, holds: bool) -> subprocess.Popen[str]:
    """Another process, that appends to a file again and again."""
    text = f"""
        import sys, time
        file = open({str(path)!r}, "a")
        while True:
            file.write("theirs\\n"); file.flush()
            if not {holds}: file.close()
            print("written", flush=True); sys.stdin.readline()
            if not {holds}: file = open({str(path)!r}, "a")
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    return process


def test_a_file_that_another_process_holds_is_left_to_it(cwd: Path) -> None:
    (cwd / "shared.log").write_text("before\n")
    other = writing_meanwhile(cwd / "shared.log", holds=True)
    try:
        ran = run(write(cwd, 'open("shared.log", "a").write("mine\\n")'), cwd, way="journal")
    finally:
        other.kill()
        other.communicate()
    assert (cwd / "shared.log").read_text() == "before\ntheirs\nmine\n"
    left = ran.left("shared.log")
    assert (left.what, left.undone) == ("changed", False)
    assert left.reason == f"another process ({other.pid}) is writing to it"
    assert ran.box.trouble[0] == f"{cwd / 'shared.log'} could not be put back: {left.reason}"


def test_files_that_another_process_writes_are_not_touched(cwd: Path, shared: Path, way: str) -> None:
    other = writing_meanwhile(cwd / "theirs.log", holds=False)
    script = write(
        cwd,
        f"""
        import os, time
        open("mine.log", "w").write("mine")
        open({str(shared / "go")!r}, "w").close()
        while not os.path.exists({str(shared / "went")!r}): time.sleep(0.005)
        """,
    )
    env = {**os.environ, "PYTHONPATH": ROOT}
    try:
        with Sandbox(cwd, script=script, way=way, shared=[shared]) as box:
            argv, env = box.command([sys.executable, str(script)], env)
            process = subprocess.Popen(argv, env=env, cwd=cwd)
            while not (shared / "go").exists():
                time.sleep(0.005)
            other.stdin.write("\n")
            other.stdin.flush()
            other.stdout.readline()
            (cwd / "new.py").write_text("an editor has saved this")
            (shared / "went").touch()
            process.wait()
    finally:
        other.kill()
        other.communicate()
    assert (cwd / "theirs.log").read_text() == "theirs\ntheirs\n"
    told = {os.path.basename(left.path): left for left in box.left_out}
    assert not (cwd / "mine.log").exists()
    if way == "overlay":
        assert set(told) == {"mine.log"}
        assert (cwd / "new.py").exists()
    else:
        assert (told["theirs.log"].what, told["theirs.log"].undone) == ("changed", False)
        assert "it is now " in told["new.py"].reason
        moved = Path(told["new.py"].reason.rpartition("it is now ")[2])
        assert moved.read_text() == "an editor has saved this"
    assert box.trouble == []


def test_an_interrupted_undoing_goes_on(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcd":
        (cwd / name).write_text(name)
    script = write(
        cwd,
        """
        import os
        for name in "abcd": os.remove(name); open(name, "w").write("new"); os.chmod(name, 0o600)
        """,
    )
    before, seen = tree(cwd), []
    once = undo.Undoing._entry

    def interrupted(self: undo.Undoing, line: undo.Line) -> None:
        seen.append(line)
        if len(seen) == 4:
            raise KeyboardInterrupt
        once(self, line)

    monkeypatch.setattr(undo.Undoing, "_entry", interrupted)
    with Sandbox(cwd, script=script, way="journal") as box:
        argv, env = box.command([sys.executable, str(script)], {**os.environ, "PYTHONPATH": ROOT})
        subprocess.run(argv, env=env, cwd=cwd, check=True)
        with pytest.raises(KeyboardInterrupt):
            box.put_back()
    assert tree(cwd) == before


def test_a_journal_whose_last_line_is_torn(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text('{"kind": "entry", "path": "/x", "was": null}\n{"kind": "ent')
    assert [line.path for line in undo.lines(tmp_path)] == ["/x"]


def test_very_many_files_are_listed_up_to_a_limit(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".git/objects", "node_modules/x", "env/lib", "conda/conda-meta", "__pycache__", "kept/deep"):
        (cwd / name).mkdir(parents=True)
        (cwd / name / "file").touch()
    (cwd / "env/pyvenv.cfg").touch()
    found = listing.listed([str(cwd)])
    assert {os.path.relpath(path, cwd) for path in found.entries} == {
        ".",
        "env",
        "conda",
        "kept",
        "kept/deep",
        "kept/deep/file",
    }
    assert found.complete
    monkeypatch.setattr(listing, "MOST_ENTRIES", 2)
    assert not listing.listed([str(cwd)]).complete
    (cwd / "loop").symlink_to(cwd)
    assert str(cwd / "loop/loop") not in listing.listed([str(cwd)]).entries


def test_a_folder_that_is_too_large_to_be_listed_is_said(cwd: Path) -> None:
    script = write(cwd, "print('ran')")
    with Sandbox(cwd, script=script, way="journal") as box:
        argv, env = box.command([sys.executable, str(script)], {**os.environ, "PYTHONPATH": ROOT})
        subprocess.run(argv, env=env, cwd=cwd, check=True)
        listing.write(str(box._state / "before"), listing.Listing([str(cwd)], {}, complete=False))
    assert box.notes == [f"{cwd} holds too many files to be compared with what it was"]


def test_what_cannot_be_put_back_is_kept(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cwd / "gone").write_text("precious")

    def fails(*_: object) -> None:
        raise OSError(5, "the disk is broken")

    monkeypatch.setattr(undo.Undoing, "_restore", fails)
    ran = run(write(cwd, "import os; os.remove('gone')"), cwd, way="journal")
    assert ran.left("gone").undone is False
    said, where = ran.box.trouble
    assert said == f"{cwd / 'gone'} could not be put back: the disk is broken"
    place = Path(where.removeprefix("what was put aside is kept in "))
    assert [file.read_text() for file in place.iterdir()] == ["precious"]


def test_the_state_is_gone_afterwards(cwd: Path, way: str) -> None:
    with Sandbox(cwd, way=way) as box:
        state = box._state
        assert state.is_dir()
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert not state.exists()
    assert box_module._PREFIX in state.name


def test_the_script_is_interrupted(cwd: Path, way: str, shared: Path) -> None:
    """As by Ctrl-C: it writes on its way out, and that is undone as well."""
    script = write(
        cwd,
        f"""
        import time
        try:
            open({str(shared / "go")!r}, "w").close()
            time.sleep(600)
        finally:
            open("last_words", "w").write("saved")
        """,
    )
    before = tree(cwd)
    with Sandbox(cwd, script=script, way=way, shared=[shared]) as box:
        argv, env = box.command([sys.executable, str(script)], {**os.environ, "PYTHONPATH": ROOT})
        process = subprocess.Popen(argv, env=env, cwd=cwd, stderr=subprocess.DEVNULL)
        while not (shared / "go").exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        process.wait()
    assert tree(cwd) == before
    assert [left.what for left in box.left_out if left.path == str(cwd / "last_words")] == ["created"]


def test_limits_are_what_the_documentation_says() -> None:
    text = Path(ROOT, "docs/background/nothing-left-behind.md").read_text(encoding="utf-8")
    assert f"{journal.LIMIT_PER_FILE >> 30} GB" in text
    assert f"{journal.LIMIT_IN_ALL >> 30} GB" in text
    assert f"{listing.MOST_ENTRIES:,}" in text
