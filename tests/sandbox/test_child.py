"""What is seen in the process: Python's own writes, writers past Python, and processes that the script starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bnguard._sandbox import child
from bnguard._sandbox.box import TRACKERS_OFF, Sandbox
from sandbox.operations import age, tree
from sandbox.trees import ROOT, run, write

PAST_PYTHON = """
    import ctypes

    def write_past_python(path, text=b"written in C"):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.fopen.restype = libc.fclose.argtypes = None
        libc.fopen.restype = ctypes.c_void_p
        libc.fclose.argtypes = [ctypes.c_void_p]
        libc.fwrite.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
        file = libc.fopen(str(path).encode(), b"wb")
        libc.fwrite(text, 1, len(text), file)
        libc.fclose(file)
"""


@pytest.fixture
def past_python(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for stand-ins of libraries, each of which writes in C."""
    libraries = cwd.parent / "libraries"
    libraries.mkdir()
    write(libraries, PAST_PYTHON, "past.py")
    monkeypatch.setenv("PYTHONPATH", str(libraries))
    return libraries


def run_with(libraries: Path, script: Path, cwd: Path):
    """As ``run``, with libraries that the script can import."""
    with Sandbox(cwd, script=script, way="journal") as box:
        argv, env = box.command([sys.executable, str(script)], {**os.environ, "PYTHONPATH": f"{libraries}:{ROOT}"})
        result = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return box


def test_a_known_writer_is_seen(cwd: Path, past_python: Path) -> None:
    """Stand-ins with the names and arguments of the real ones; the real ones are tried in test_writers.py."""
    (past_python / "h5py/_hl").mkdir(parents=True)
    write(past_python / "h5py", "from h5py._hl.files import File", "__init__.py")
    write(past_python / "h5py/_hl", "", "__init__.py")
    write(
        past_python / "h5py/_hl",
        """
        from past import write_past_python
        class File:
            def __init__(self, name, mode="r", **kwargs):
                if mode != "r": write_past_python(name)
        """,
        "files.py",
    )
    write(
        past_python,
        "from past import write_past_python\ndef imwrite(filename, img): write_past_python(filename)",
        "cv2.py",
    )
    for name in ("old.h5", "read.h5", "old.png"):
        (cwd / name).write_text("before")
    script = write(
        cwd,
        """
        import h5py, cv2
        h5py.File("old.h5", "w"); h5py.File("new.h5", mode="a"); h5py.File("read.h5")
        cv2.imwrite("old.png", None); cv2.imwrite(filename="new.png", img=None)
        """,
    )
    age(cwd)
    before = tree(cwd)
    box = run_with(past_python, script, cwd)
    assert tree(cwd) == before
    assert {os.path.basename(left.path): (left.what, left.undone, left.reason) for left in box.left_out} == {
        "old.h5": ("changed", True, None), "new.h5": ("created", True, None),
        "old.png": ("changed", True, None), "new.png": ("created", True, None),
    }  # fmt: skip


def test_what_slips_through_is_told(cwd: Path, past_python: Path) -> None:
    (cwd / "old").write_text("before")
    (cwd / "doomed").write_text("before")
    script = write(
        cwd,
        """
        import ctypes, os
        from past import write_past_python
        write_past_python("old"); write_past_python("new")
        ctypes.CDLL(None).unlink(b"doomed"); ctypes.CDLL(None).mkdir(b"folder", 0o755)
        write_past_python("folder/file")
        os.mkdir("mine"); write_past_python("mine/file")
        """,
    )
    box = run_with(past_python, script, cwd)
    told = {os.path.basename(left.path): left for left in box.left_out}
    assert {name: (left.what, left.undone) for name, left in told.items()} == {
        "old": ("changed", False), "new": ("created", True), "doomed": ("removed", False),
        "folder": ("created", True), "mine": ("created", True),
    }  # fmt: skip
    assert sorted(os.listdir(cwd)) == ["old", "train.py"]
    moved = Path(told["folder"].reason.rpartition("it is now ")[2])
    assert (moved / "file").read_text() == "written in C"
    assert "past Python" in told["old"].reason
    assert box.trouble == []


def test_other_programs_are_named(cwd: Path) -> None:
    (cwd / "a").write_text("a")
    script = write(
        cwd,
        """
        import os, subprocess, sys
        subprocess.run(["cp", "a", "b"]); os.system("uname >/dev/null"); os.system("true")
        subprocess.run([sys.executable, "-c", "1"])
        """,
    )
    ran = run(script, cwd, way="journal")
    assert ran.box.notes == ["what other programs write is seen only afterwards (cp a b, and 1 more)"]
    assert ran.left("b").reason.startswith("nobody saw who wrote it")
    assert sorted(os.listdir(cwd)) == ["a", "train.py"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing(cwd: Path, method: str) -> None:
    (cwd / "old").write_text("before")
    script = write(
        cwd,
        f"""
        import multiprocessing, os
        def work(number):
            open(f"new{{number}}", "w").write("x"); open("old", "a").write("x")
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            processes = [context.Process(target=work, args=(number,)) for number in range(3)]
            for process in processes: process.start()
            for process in processes: process.join()
            print([process.exitcode for process in processes])
        """,
    )
    age(cwd)
    before = tree(cwd)
    ran = run(script, cwd, way="journal")
    assert "[0, 0, 0]" in ran.output
    assert tree(cwd) == before
    assert all(left.reason is None for left in ran.box.left_out)
    assert {name: what for name, what in ran.left_out.items() if not name.startswith("..")} == {
        "old": "changed", "new0": "created", "new1": "created", "new2": "created",
    }  # fmt: skip


def test_a_python_that_the_script_starts(cwd: Path) -> None:
    script = write(cwd, """import subprocess, sys; subprocess.run([sys.executable, "-c", "open('new', 'w')"])""")
    before = tree(cwd)
    ran = run(script, cwd, way="journal")
    assert tree(cwd) == before
    assert ran.left("new").reason is None


def test_the_users_own_sitecustomize_still_runs(cwd: Path) -> None:
    own = cwd.parent / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import builtins; builtins.mine = 'here'; import bnguard_own")
    (own / "bnguard_own.py").write_text("")
    script = write(cwd, "import sys; print(mine, [path for path in sys.path if 'sandbox' in path])")
    with Sandbox(cwd, way="journal") as box:
        argv, env = box.command([sys.executable, str(script)], {**os.environ, "PYTHONPATH": str(own)})
        result = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "here []", result.stderr


def test_setup_outside_of_a_sandbox_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(child.VARIABLE, raising=False)
    child.setup()
    monkeypatch.setenv(child.VARIABLE, "/nowhere")
    child.setup()
    assert child._journal is None


def test_relative_to_open_folders_and_open_files(cwd: Path) -> None:
    (cwd / "sub").mkdir()
    for name in ("a", "b", "c"):
        (cwd / "sub" / name).write_text("before")
    script = write(
        cwd,
        """
        import os
        folder = os.open("sub", os.O_RDONLY)
        os.remove("a", dir_fd=folder); os.rename("b", "bb", src_dir_fd=folder, dst_dir_fd=folder)
        os.mkdir("new", dir_fd=folder); os.symlink("x", "link", dir_fd=folder); os.mkfifo("pipe")
        file = os.open("sub/c", os.O_RDWR); os.fchmod(file, 0o600); os.utime(file, (1, 1)); os.ftruncate(file, 1)
        os.chdir("sub"); open("../beside", "w").write("x"); open(b"bytes", "w").write("x")
        """,
    )
    age(cwd)
    before = tree(cwd)
    ran = run(script, cwd, way="journal")
    assert ran.code == 0, ran.output
    assert tree(cwd) == before
    assert all(left.reason is None for left in ran.box.left_out)


def test_reading_leaves_no_line(cwd: Path) -> None:
    (cwd / "data").write_text("data")
    ran = run(write(cwd, "open('data').read(); import os; os.listdir('.'); os.path.exists('x')"), cwd, way="journal")
    assert ran.box.left_out == []


def test_threads(cwd: Path) -> None:
    for number in range(8):
        (cwd / f"old{number}").write_text("before" * 1000)
    script = write(
        cwd,
        """
        import os, threading
        def work(number):
            for turn in range(30):
                open(f"old{number}", "a").write("x"); os.replace(f"old{number}", f"tmp{number}")
                os.replace(f"tmp{number}", f"old{number}")
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
    )
    age(cwd)
    before = tree(cwd)
    ran = run(script, cwd, way="journal")
    assert ran.code == 0, ran.output
    assert tree(cwd) == before


def test_several_processes_of_one_training(cwd: Path, tmp_path: Path) -> None:
    """They see each other's files; one of them puts everything back, when all are done."""
    (cwd / "log").write_text("before\n")
    common = tmp_path / "common"
    common.mkdir()
    script = write(
        cwd,
        """
        import os, sys, time
        rank = sys.argv[1]
        open("log", "a").write(rank)
        open(f"rank{rank}", "w").write(rank)
        while not os.path.exists(f"rank{1 - int(rank)}"): time.sleep(0.005)
        print("saw the other")
        """,
    )
    age(cwd)
    before = tree(cwd)
    text = f"""
        import os, subprocess, sys
        from pathlib import Path
        from bnguard._sandbox.box import Sandbox
        rank = sys.argv[1]
        with Sandbox({str(cwd)!r}, joined=Path({str(common)!r}), leads=rank == "0") as box:
            argv, env = box.command([sys.executable, {str(script)!r}, rank], dict(os.environ))
            subprocess.run(argv, env=env, cwd={str(cwd)!r}, check=True)
        print(sorted((os.path.basename(left.path), left.what) for left in box.left_out), box.trouble)
        """
    starter = write(tmp_path, text, "starter.py")
    env = {**os.environ, "PYTHONPATH": ROOT}
    ranks = [
        subprocess.Popen([sys.executable, str(starter), rank], env=env, stdout=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    said = [process.communicate(timeout=60)[0].splitlines() for process in ranks]
    assert [lines[0] for lines in said] == ["saw the other", "saw the other"]
    assert said[0][1] == "[('log', 'changed'), ('rank0', 'created'), ('rank1', 'created')] []"
    assert tree(cwd) == before
    assert os.listdir(common) == []


def test_trackers_are_off(cwd: Path) -> None:
    script = write(
        cwd, f"import json, os; print(json.dumps({{name: os.environ[name] for name in {list(TRACKERS_OFF)}}}))"
    )
    said = json.loads(run(script, cwd, way="journal").output)
    assert said["WANDB_MODE"] == "disabled"
    assert said["MLFLOW_TRACKING_URI"].startswith("file:/")
    assert not any("{" in value for value in said.values())
    assert not any(name.startswith("HF_") for name in said)


def test_setup_imports_little() -> None:
    code = textwrap.dedent(
        """
        import sys
        before = set(sys.modules)
        import bnguard._sandbox.child
        print(sorted({"torch", "dataclasses", "pathlib", "shutil", "tempfile", "socket"} & set(sys.modules) - before))
        """
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
