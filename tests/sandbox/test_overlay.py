"""The copy-on-write way: what the kernel grants to whom, and what shows through."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bnguard._sandbox import overlay
from sandbox.operations import age, tree
from sandbox.trees import ROOT, run, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Linux kernel's")


def test_the_reason_is_told_where_the_kernel_grants_nothing(cwd: Path) -> None:
    """A filter of system calls, as containers have."""
    script = write(cwd, "open('new', 'w')")
    refusing = cwd.parent / "refusing"
    refusing.mkdir()
    (refusing / "sitecustomize.py").write_text("raise SystemExit(9)")
    code = f"""
import ctypes, sys
from pathlib import Path
sys.path[:0] = [{ROOT!r}, {str(Path(ROOT, "tests"))!r}]
from sandbox.trees import run
from bnguard._sandbox import overlay
path = Path(overlay.__file__)
copy = Path({str(refusing)!r}, "overlay.py")
copy.write_text(path.read_text().replace("    import ctypes", "    return 1\\n    import ctypes"))
overlay.__file__ = str(copy)
ran = run(Path({str(script)!r}), Path({str(cwd)!r}))
print(ran.box.way, ran.box.notes, ran.box.left_out[0].what, ran.code)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == (
        "journal ['there is no copy-on-write view of the file system here: no user namespace "
        "(Operation not permitted)'] created 0\n"
    )
    assert not (cwd / "new").exists()


def test_a_place_of_the_system_is_left_to_the_journal(tmp_path: Path) -> None:
    ran = run(write(tmp_path, "pass"), Path("/"))
    assert ran.box.way == "journal"
    assert "/ cannot be overlaid (it is a place of the system)" in ran.box.notes[0]


def test_beside_the_folder_and_in_the_home_folder(cwd: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    home = cwd.parent / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    script = write(
        cwd,
        """
        import os, pathlib
        os.makedirs(pathlib.Path.home() / ".cache/hub"); (pathlib.Path.home() / ".cache/hub/model").write_text("x")
        os.makedirs("../runs/1"); open("../runs/1/log", "w").write("x")
        """,
    )
    before = tree(cwd.parent)
    ran = run(script, cwd, way=way)
    assert ran.code == 0, ran.output
    assert tree(cwd.parent) == before
    assert {left.path: left.what for left in ran.box.left_out} == {
        str(home / ".cache"): "created",
        str(cwd.parent / "runs"): "created",
    }


@pytest.fixture
def mounted(cwd: Path) -> Iterator[Callable[..., None]]:
    """Mounts below the working folder, unmounted at the end."""
    places: list[Path] = []

    def mount(place: Path, *options: str) -> None:
        place.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", *options, place], check=False).returncode:
            pytest.skip("mounting is not granted")
        places.append(place)

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", place], check=True)


def test_a_folder_that_the_command_line_names(cwd: Path, tmp_path: Path, mounted: Callable[..., None]) -> None:
    results = tmp_path / "results"
    mounted(results, "tmpfs", "tmpfs")
    script = write(cwd, "import os, sys; os.system(f'echo > {sys.argv[1].partition(\"=\")[2]}/log')")
    ran = run(script, cwd, f"--out={results}", way="overlay")
    assert ran.left_out == {}
    assert [left.path for left in ran.box.left_out] == [str(results / "log")]
    assert os.listdir(results) == []


def test_other_programs_write_into_the_view(cwd: Path) -> None:
    (cwd / "a").write_text("a")
    script = write(cwd, "import os; os.system('cp a b; rm a; mkdir -p d/e; mv b d/e/; ln -s x y; echo > log')")
    age(cwd)
    before = tree(cwd)
    ran = run(script, cwd, way="overlay")
    assert tree(cwd) == before
    assert ran.left_out == {"a": "removed", "d": "created", "y": "created", "log": "created"}
    assert ran.box.notes == []


def test_shared_folders_and_sockets_show_through(cwd: Path, shared: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(cwd.parent / "server"))
    server.listen()
    script = write(
        cwd,
        f"""
        import socket
        client = socket.socket(socket.AF_UNIX)
        client.connect({str(cwd.parent / "server")!r})
        open({str(shared / "answer")!r}, "w").write("forty-two")
        open({str(shared / "old")!r}, "a").write(" and after")
        """,
    )
    (shared / "old").write_text("before")
    ran = run(script, cwd, way="overlay", shared=[shared])
    server.close()
    assert ran.code == 0, ran.output
    assert (shared / "answer").read_text() == "forty-two"
    assert (shared / "old").read_text() == "before and after"
    assert ran.box.left_out == []


def test_shared_folders_stay_with_the_journal(cwd: Path, shared: Path) -> None:
    (cwd / "mine").write_text("mine")
    text = f"""
        import os
        open({str(shared / "answer")!r}, "w").write("x")
        os.rename("mine", {str(shared / "moved")!r})
        """
    ran = run(write(cwd, text), cwd, way="journal", shared=[shared])
    assert ran.code == 0, ran.output
    assert (shared / "answer").exists()
    assert (cwd / "mine").read_text() == "mine"


BELOW = "print(open('disk/file').read()); open('disk/file', 'a').write('x'); open('new', 'w')"


def test_a_mount_below_is_covered_as_well(cwd: Path, mounted: Callable[..., None]) -> None:
    mounted(cwd / "disk", "tmpfs", "tmpfs")
    (cwd / "disk/file").write_text("there")
    script = write(cwd, BELOW)
    before = tree(cwd)
    ran = run(script, cwd, way="overlay")
    assert "there" in ran.output
    assert tree(cwd) == before
    assert ran.left_out == {"new": "created", "disk/file": "changed"}
    assert ran.box.notes == []


def test_a_mount_that_overlayfs_refuses_is_put_back_by_the_journal(
    cwd: Path, tmp_path: Path, mounted: Callable[..., None]
) -> None:
    """Overlays are stacked twice at most."""
    mounted(tmp_path / "ram", "tmpfs", "tmpfs")
    for name in ("low", "up", "tmp", "up2", "tmp2"):
        (tmp_path / "ram" / name).mkdir()
    (tmp_path / "ram/low/file").write_text("there")
    layers = "lowerdir={low},upperdir={ram}/up,workdir={ram}/tmp"
    mounted(
        tmp_path / "once", "overlay", "overlay", "-o", layers.format(low=tmp_path / "ram/low", ram=tmp_path / "ram")
    )
    layers = "lowerdir={low},upperdir={ram}/up2,workdir={ram}/tmp2"
    mounted(cwd / "disk", "overlay", "overlay", "-o", layers.format(low=tmp_path / "once", ram=tmp_path / "ram"))
    script = write(cwd, BELOW)
    ran = run(script, cwd, way="overlay")
    assert "there" in ran.output
    assert (cwd / "disk/file").read_text() == "there"
    assert ran.left_out == {"new": "created", "disk/file": "changed"}
    assert ran.box.notes == [f"{cwd / 'disk'} is seen as it is: what is written there is put aside before"]


@pytest.mark.parametrize("name", ["com,ma", "co:lon", "back\\slash", "sp ace", "ünï", "new\nline"])
def test_names_that_mount_options_cannot_hold(tmp_path: Path, name: str, way: str) -> None:
    cwd = tmp_path / name
    cwd.mkdir()
    script = write(cwd, "open('new', 'w')")
    before = tree(cwd)
    ran = run(script, cwd, way=way)
    assert ran.box.way == way
    assert ran.left_out == {"new": "created"}
    assert tree(cwd) == before


def test_nothing_is_mounted_afterwards(cwd: Path) -> None:
    def mounted_over() -> list[str]:
        return [path for path in overlay._mount_points() if cwd.is_relative_to(path)]

    before = mounted_over()
    ran = run(write(cwd, "open('new', 'w')"), cwd, way="overlay")
    assert ran.left_out == {"new": "created"}
    assert mounted_over() == before


def test_the_process_stays_the_one_it_would_be(cwd: Path) -> None:
    """Process numbers, the user, the network and the terminal are not in namespaces of their own."""
    script = write(
        cwd,
        """
        import json, os
        print(json.dumps([os.getppid(), os.getuid(), os.getgid(), os.getcwd(),
            *(os.readlink(f"/proc/self/ns/{name}") for name in ("net", "pid", "ipc", "uts"))]))
        """,
    )
    ran = run(script, cwd, way="overlay")
    names = [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "pid", "ipc", "uts")]
    assert json.loads(ran.output) == [os.getpid(), os.getuid(), os.getgid(), str(cwd), *names]


def test_reading_the_layers_imports_no_ctypes() -> None:
    code = "import sys; import bnguard._sandbox.box; print('ctypes' in sys.modules, 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.strip() == "False False"


def test_escapes_of_the_list_of_mounts() -> None:
    assert overlay._unescaped(r"/a\040b\134c") == "/a b\\c"
