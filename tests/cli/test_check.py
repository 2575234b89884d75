"""``bnguard check`` as it is typed: exit codes, streams, interrupts, and what a reader of the report sees."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from configurations import make

from bnguard._cli.app import run

ROOT = Path(__file__).parents[2]
CONFIG = """\
[tool.bnguard.models.net]
target = "models.py:Net"
input = "3,32,32"
[tool.bnguard.models.holds]
target = "models.py:Holds"
[tool.bnguard.models.broken]
target = "models.py:Broken"
[tool.bnguard.loaders.train]
n = 50_001
batch-size = 8
feeds = ["net", "holds", "broken"]
[tool.bnguard.loaders.val]
n = 1000
batch-size = 64
feeds = ["net", "holds"]
[tool.bnguard.loaders.live]
target = "data.py:loader"
feeds = "holds"
[tool.bnguard.loaders.extra]
n = 20
batch-size = 10
feeds = []
"""
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path, CONFIG).rename(tmp_path / "pyproject.toml")
    return tmp_path


@pytest.fixture
def check(folder: Path) -> Check:
    """Run the command in a folder below that of the configuration."""

    def check(*options: str, within: str = "deeper") -> subprocess.CompletedProcess[str]:
        (folder / within).mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "bnguard", "check", *options],
            capture_output=True, text=True, cwd=folder / within, check=False,
            env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip

    return check


def test_the_report(check: Check, golden):
    result = check()
    golden("check.txt", re.sub(r"  File .*?__init__\n", "  File …\n", result.stdout, flags=re.DOTALL))
    assert result.returncode == 2  # one of the models was not looked at
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "says hello" not in result.stdout
    assert "models.py says hello" in result.stderr
    assert "a shell says hello" in result.stderr


def test_the_document(check: Check, folder: Path):
    result = check("--format", "json", "--entry", "net", "--entry", "broken", "--output", "report.json", "--jobs", "1")
    assert (result.returncode, result.stdout) == (2, "")
    assert "bnguard: models.broken was not checked: " in result.stderr
    document = json.loads((folder / "deeper" / "report.json").read_text())
    assert document["command"] == "check"
    assert [(f["model"], f["loader"], f["step"]) for f in document["forecasts"]] == [
        ("net", "train", 6251),
        ("net", "val", None),
    ]
    (problem,) = document["problems"]
    assert (problem["entry"], problem["error"]) == ("models.broken", "models.py raised RuntimeError: no such backbone")
    assert problem["hint"]


def test_the_command_line_wins_over_the_file(folder: Path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    file = folder / "pyproject.toml"
    numbers = "[tool.bnguard.loaders.train]\nn = 9\nbatch-size = 8\n"
    file.write_text(f"[tool.bnguard]\nfail-on = 'warning'\nignore = 'DL101'\n{numbers}")
    assert run(["check"]) == 0
    assert "DL101" not in capsys.readouterr().out
    assert run(["check", "--ignore", "DL2,BN"]) == 2  # there is no such code
    assert run(["check", "--ignore", "DL102"]) == 1
    assert "DL101" in capsys.readouterr().out
    assert run(["check", "--ignore", "DL102", "--fail-on", "never"]) == 0
    other = folder / "other.toml"
    other.write_text("[loaders.train]\nn = 16\nbatch-size = 8\n")
    capsys.readouterr()
    assert run(["check", "--config", "other.toml", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_bad_input(folder: Path, capsys, monkeypatch):
    monkeypatch.chdir(folder)

    def told(*options: str) -> str:
        assert run(["check", *options]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        return err

    assert told("--config", "no.toml").startswith("bnguard: cannot read ")
    assert "declares no entry 'vall'\n  hint: did you mean val?" in told("--entry", "vall")
    assert "0 processes can do nothing" in told("--jobs", "0")
    assert "--format 'xml' is not known" in told("--format", "xml")
    assert "has a [tool.bnguard] already" in told("--init")


ENDLESS = """\
import os, subprocess, sys, time
from torch import nn
child = subprocess.Popen(["sleep", "3600"])
for pid in (os.getpid(), child.pid):
    open(os.path.join(os.environ["PIDS"], str(pid)), "w").close()
try:
    time.sleep(3600)
except BaseException:
    time.sleep(3600)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def pids_folder() -> Iterator[Path]:
    """Of shared memory: what a script writes elsewhere nobody sees but itself."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="looks at processes")
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize(
    ("sent", "in_background"), [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True)]
)
def test_an_interrupt_ends_everything(
    tmp_path: Path, pids_folder: Path, jobs: str, sent: signal.Signals, in_background: bool
):
    """What goes on after the interrupt would go on for longer than a test may take."""
    endless = ENDLESS if jobs == "2" else ENDLESS.replace("except BaseException", "except OSError")
    (tmp_path / "endless.py").write_text(endless)
    second = "[models]\nb = 'endless.py:Net'\n" if jobs == "1" else "[scripts]\nb = 'endless.py'\n"
    (tmp_path / "bnguard.toml").write_text(f"models.a = 'endless.py'\n{second}" if jobs == "2" else second)
    command = [sys.executable, "-m", "bnguard", "check", "--jobs", jobs]
    as_shells_do = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"] if in_background else []
    process = subprocess.Popen(
        [*as_shells_do, *command], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, **ENVIRONMENT, "PIDS": str(pids_folder)}, start_new_session=True,
    )  # fmt: skip
    pids: list[int] = []
    try:
        wanted = 4 if jobs == "2" else 2
        while len(pids := [int(p.name) for p in pids_folder.iterdir()]) < wanted:
            assert process.poll() is None
            time.sleep(0.05)
        if in_background:
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to those in the foreground alone
        os.killpg(process.pid, sent)  # as a terminal does, or a CI that cancels
        out, err = process.communicate()
        assert (process.returncode, out) == (130, b""), err
        assert b"Traceback" not in err
        while any(map(alive, pids)):
            time.sleep(0.05)
    finally:
        for pid in (process.pid, *pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
